# Runs as the `credentials` sidecar (POSIX sh; the image also has bao, cat, cmp, cp, mv, rm, mkdir, sleep).
#
# Follows the ConfigMap in $CONFIG: starts `bao agent` with it, publishes each rendered file into
# $SECRETS by rename (bao's own writeToFile is not atomic), removes files that are no longer wanted at
# once, and records the revision that this pod serves in OpenBao, where the operator reads it.
# Why a new agent for a new configuration: SIGHUP ignores templates added to it, and the CA is read once.
set -u
umask 0027
agent= running= published= age=0
# rounds (seconds, or a little more) until the record is written again, so that one that is lost comes back;
# it differs from pod to pod, so that they do not all come at once
again=$((240 + 0x${POD_UID%%-*} % 120))

log() { echo "credentials: $*" >&2; }

start_agent() { # REVISION FOLDER
  [ -z "$agent" ] || { kill "$agent" 2>/dev/null; wait "$agent" 2>/dev/null; }
  agent=
  rm -rf "${WORK:?}"/[!.]*
  mkdir -p "$WORK/$1"
  cp "$2/agent.json" "$2/files" "$2/ca.crt" "$WORK/" || return 1
  running=$1
  prune
  [ -s "$WORK/files" ] || return 0
  bao agent -config="$WORK/agent.json" -log-level=warn >&2 &
  agent=$!
}

# Whether what runs is not what the configuration says. A new CA or interval has no new revision.
outdated() { # REVISION FOLDER
  [ "$1" != "$running" ] || ! cmp -s "$2/agent.json" "$WORK/agent.json" || ! cmp -s "$2/ca.crt" "$WORK/ca.crt" ||
    { [ -n "$agent" ] && ! kill -0 "$agent" 2>/dev/null; }
}

wanted() { # FILE
  while read -r name; do [ "$name" != "$1" ] || return 0; done <"$WORK/files"
  return 1
}

prune() {
  for path in "$SECRETS"/*; do
    [ ! -f "$path" ] || wanted "${path##*/}" || rm -f "$path"
  done
}

# Publishes what has been rendered; fails while something is missing.
publish_files() {
  complete=0
  while read -r name; do
    new=$WORK/$running/$name
    if [ ! -f "$new" ]; then complete=1
    elif ! cmp -s "$new" "$SECRETS/$name"; then cp -p "$new" "$SECRETS/.$name.new" && mv -f "$SECRETS/.$name.new" "$SECRETS/$name" || complete=1
    fi
  done <"$WORK/files"
  return $complete
}

# In a shell of its own, so that the agent keeps its patience. Here there is little: meanwhile no file is
# published or removed.
publish_revision() (
  export BAO_CLIENT_TIMEOUT=5 BAO_MAX_RETRIES=0
  token=$(bao write -field=token "auth/$AUTH_MOUNT/login" role="$ROLE" jwt=@"$JWT" 2>/dev/null) || exit 1
  BAO_TOKEN=$token bao write "$STATUS_MOUNT/$ROLE/$POD_UID" revision="$running" >/dev/null 2>&1
  written=$?
  BAO_TOKEN=$token bao token revoke -self >/dev/null 2>&1
  exit $written
)

trap '[ -z "$agent" ] || kill "$agent" 2>/dev/null; exit 0' TERM INT

while :; do
  # ..data is one folder that the kubelet swaps as a whole: what is read from it belongs together
  folder=$(readlink -f "$CONFIG/..data")
  if read -r revision 2>/dev/null <"$folder/revision"; then
    if outdated "$revision" "$folder"; then
      log "revision $revision"
      start_agent "$revision" "$folder"
    fi
  fi
  age=$((age + 1))
  if [ -n "$running" ] && publish_files && { [ "$running" != "$published" ] || [ "$age" -ge "$again" ]; }; then
    if publish_revision; then
      [ "$running" = "$published" ] || log "serving revision $running"
      published=$running age=0
      : >"$WORK/.started"
    else
      age=$((again - 30))
    fi
  fi
  sleep 1 &
  wait $!
done
