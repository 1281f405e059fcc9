# Runs as the `credentials` sidecar (POSIX sh; the image also has bao, cat, cmp, cp, date, mkdir, mv, readlink, rm,
# sleep).
#
# Follows the ConfigMap in $CONFIG:
#   revision    the name of this set of files
#   files       what is published below $OUT, one `<folder>/<name>` a line; the folders are secrets, env and proxy
#   agent.json  configuration of `bao agent`. It renders each file to $WORK/<revision>/<folder>/<name>, and before one
#               that holds a lease that lease's seconds ({{ .LeaseDuration }}) to $WORK/<revision>/<folder>/.<name>.ttl,
#               where no other file can be. Its sink, for the token, is $WORK/.tokens/held.
#   ca.crt      who vouches for OpenBao
#   listeners   optional: the ports of the proxy, and the files without which they must not be open
#   login-ttl   how long a login lasts, `900s`
#   overlap     optional: seconds that leases stay good after a new configuration has replaced them; without it 30
# What is rendered is published by rename, so that nobody reads half of it; what is no longer wanted is removed at once.
# OpenBao is told what this pod serves, where the operator reads it:
#   revision  of which all has been published; while the configuration names another one, the last that was complete
#   expires   when the first lease ends
#   partly    of which some is not, if that has lasted: `unfit` and `absent` name those files, with commas
# `unfit` has been rendered as nothing: its value does not fit where it is to be delivered. `absent` has not been
# rendered: OpenBao refuses it, or its template fails. There is no word of what a file holds.
#
# Why a new agent for a new configuration: SIGHUP ignores templates added to it, and the CA is read once.
# Why a new login for it: the agent issues every lease anew in any case, and the old ones end only with their token.
set -u
umask 0077
round=0 # a second, or a little more

log() { echo "credentials: $*" >&2; }

is_number() { case $1 in '' | *[!0-9]*) return 1 ;; esac }

# In a shell of its own, so that the agent keeps its patience; here there is little, because somebody waits.
bao_now() ( # TOKEN ARGUMENT…
  export BAO_TOKEN="$1" BAO_CLIENT_TIMEOUT=3 BAO_MAX_RETRIES=0
  shift
  exec bao "$@"
)

# --- Tokens. Each that the agent has held is kept as $tokens/<number> until it has ended.

tokens=$WORK/.tokens
mkdir -p "$tokens"
token= last=0 # the agent's, and its number
for path in "$tokens"/*; do # what this container left when it ended without warning
  number=${path##*/}
  ! is_number "$number" || [ "$number" -le "$last" ] || last=$number
done
former=$last # up to this number they are not the agent's any more
ending=0     # up to this number it is seen to that they end
settled=none # the agent that had a complete set
overlap=30 login_ttl=

# To be called often: the agent logs in again by itself, and keeps only the last token.
note_token() {
  held=
  { read -r held <"$tokens/held"; } 2>/dev/null
  [ -n "$held" ] && [ "$held" != "$token" ] || return 0
  former=$last last=$((last + 1)) token=$held since=$round
  echo "$token" >"$tokens/$last"
}

# Ends a token, and with it its leases. Fails while OpenBao gives no answer.
end_token() { # NAME
  [ -f "$tokens/$1" ] || return 0
  answer=$(bao_now "$(cat "$tokens/$1")" token revoke -self 2>&1) ||
    case $answer in *"Code: 403."*) ;; *) return 1 ;; esac # it is not known any more
  rm -f "$tokens/$1"
}

end_tokens_later() { # SECONDS FIRST LAST
  sleep "$1"
  number=$2
  while [ "$number" -le "$3" ]; do
    until end_token "$number"; do sleep 30; done
    number=$((number + 1))
  done
}

# For tokens that are not the agent's any more; called while the set is complete.
end_former_tokens() {
  if [ "$agent" != "$settled" ]; then # all files are a new agent's: what came before is there for its last readers
    first=1 delay=$overlap settled=$agent
  else # the agent's own next login: the one before goes on for its readers until its time is over
    first=$((ending + 1)) delay=${login_ttl:-86400}
  fi
  ending=$former
  [ "$first" -le "$former" ] || return 0
  end_tokens_later "$delay" "$first" "$former" &
}

# --- The agent

agent= running= seen= started=0
since=0 # the round in which the agent got its token

stop_agent() {
  [ -z "$agent" ] || { kill "$agent" 2>/dev/null; wait "$agent" 2>/dev/null; }
  agent=
  note_token
  former=$last token=
  rm -f "$tokens/held"
}

start_agent() { # REVISION FOLDER
  stop_agent
  rm -rf "${WORK:?}"/[!.]*
  running=
  mkdir -p "$WORK/$1"
  cp "$2/agent.json" "$2/files" "$2/ca.crt" "$WORK/" || return 1
  [ ! -f "$2/listeners" ] || cp "$2/listeners" "$WORK/" || return 1
  running=$1 started=$round
  prune
  [ -s "$WORK/files" ] || return 0
  bao agent -config="$WORK/agent.json" -log-level=warn >&2 &
  agent=$!
}

# Whether what runs is not what the configuration says. A new CA or interval has no new revision.
outdated() { # REVISION FOLDER
  if [ "$2" = "$seen" ]; then
    # not at once: one that ended may have made leases before
    [ -n "$agent" ] && ! kill -0 "$agent" 2>/dev/null && [ $((round - started)) -ge 10 ]
  else
    [ "$1" != "$running" ] || ! cmp -s "$2/agent.json" "$WORK/agent.json" || ! cmp -s "$2/ca.crt" "$WORK/ca.crt"
  fi
}

follow_configuration() {
  # ..data is one folder that the kubelet swaps as a whole: what is read from it belongs together
  folder=$(readlink -f "$CONFIG/..data")
  { read -r revision <"$folder/revision"; } 2>/dev/null || return 0
  if outdated "$revision" "$folder"; then
    log "revision $revision"
    start_agent "$revision" "$folder" || return 0
  fi
  [ "$folder" != "$seen" ] || return 0
  seen=$folder overlap= login_ttl=
  { read -r overlap <"$folder/overlap"; read -r login_ttl <"$folder/login-ttl"; } 2>/dev/null
  is_number "$overlap" || overlap=30
  is_number "${login_ttl%s}" && login_ttl=${login_ttl%s} || login_ttl=
}

# --- Files

# Where a file is rendered and published, and what is known about its lease: .ttl (seconds) and .end (unix seconds).
locate() { # FILE
  new=$WORK/$running/$1 out=$OUT/$1 lease=$WORK/$running/${1%/*}/.${1#*/}
}

wanted() { # FILE
  while read -r file; do [ "$file" != "$1" ] || return 0; done <"$WORK/files"
  return 1
}

prune() {
  open_ports # those of files that go are closed before
  for folder in secrets env proxy; do
    for path in "$OUT/$folder"/* "$OUT/$folder"/.[!.]*; do
      [ ! -f "$path" ] || [ "$path" = "$OUT/proxy/listeners.json" ] || wanted "${path#"$OUT/"}" || rm -f "$path"
    done
  done
}

# Of the proxy, where there is one: publish_listeners comes from proxy/listeners.sh.
open_ports() (
  umask 0027 # the proxy is another user, of the same group
  [ ! -d "$OUT/proxy" ] || [ ! -f "$WORK/listeners" ] || publish_listeners "$WORK/listeners" "$OUT/proxy"
)

# Publishes what has been rendered. Fails while something is missing, but goes on with the others.
publish_files() {
  complete=0 expires= unfit= absent= untold=
  while read -r file; do
    why=
    publish_file "$file" && continue
    complete=1
    case $why in
      unfit) unfit=${unfit:+$unfit,}$file ;;
      absent) absent=${absent:+$absent,}$file ;;
      *) untold=1 ;;
    esac
  done <"$WORK/files"
  return $complete
}

publish_file() { # FILE
  case $1 in */*/* | */.*) return 1 ;; secrets/?* | env/?* | proxy/?*) ;; *) return 1 ;; esac
  locate "$1"
  [ -d "${out%/*}" ] || return 1 # of an older pod, which will be replaced
  [ -f "$new" ] || { why=absent; return 1; }
  # what no variable and no header can carry is rendered as nothing
  case $1 in env/* | proxy/*) [ -s "$new" ] || { why=unfit; return 1; } ;; esac
  if ! cmp -s "$new" "$out"; then
    cp -p "$new" "${out%/*}/.${out##*/}.new" && mv -f "${out%/*}/.${out##*/}.new" "$out" || return 1
    case $1 in proxy/*) open_ports ;; esac
    rm -f "$lease.end"
  fi
  [ -f "$lease.ttl" ] || return 0
  [ -f "$lease.end" ] || lease_end "$new" "$lease" >"$lease.end"
  read -r end <"$lease.end"
  [ -z "$end" ] || { [ -n "$expires" ] && [ "$expires" -le "$end" ]; } || expires=$end
}

# When the lease ends: its own time, or that of the token that it hangs on.
lease_end() { # FILE LEASE
  ttl=$(cat "$2.ttl")
  if is_number "$ttl" && [ "$ttl" -gt 0 ]; then
    end=$(($(date -r "$1" +%s) + ttl))
    if [ -n "$login_ttl" ] && [ -f "$tokens/held" ]; then
      of_token=$(($(date -r "$tokens/held" +%s) + login_ttl))
      [ "$of_token" -ge "$end" ] || end=$of_token
    fi
    echo "$end"
  else
    echo
  fi
}

# --- The record in OpenBao

patience=10  # rounds after a login that a file may take before it is told that it is not there
longest=8192 # of a list of files that is told

# what was recorded, and the rounds of the last attempt and of the next one if nothing changes
recorded= recorded_expires= recorded_lacks= tried=0 due=0
serving= lacks= # what is to be recorded: the set that is complete, and what lacks of the one that is not
# rounds until it is written again, so that one that is lost comes back; it differs from pod to pod, so that they do
# not all come at once
again=$((240 + 0x${POD_UID%%-*} % 120))

record_due() {
  [ "$serving" != "$recorded" ] || [ "$round" -ge "$due" ] ||
    { [ "$expires $lacks" != "$recorded_expires $recorded_lacks" ] && [ $((round - tried)) -ge 10 ]; }
}

# Whether it can be told what lacks of a set that is not complete, and that all else of it is served. Not before the
# agent has been let in: else nothing is there because OpenBao is away, or refuses the login.
lacking() {
  [ -n "$token" ] && [ $((round - since)) -ge "$patience" ] && [ -z "$untold" ] &&
    [ ${#unfit} -le "$longest" ] && [ ${#absent} -le "$longest" ]
}

write_record() { # TOKEN
  with=$1
  shift
  [ -z "$lacks" ] || set -- partly="$running" unfit="$unfit" absent="$absent"
  bao_now "$with" write "$STATUS_MOUNT/$ROLE/$POD_UID" revision="$serving" expires="$expires" "$@" >/dev/null 2>&1
}

# With the agent's token, or a new one where there is none. If only the new one is good, the agent's was taken from
# it, which it does not notice until it renews it: it has to go.
record() {
  [ -z "$token" ] || ! write_record "$token" || return 0
  bao_now "" write -field=token "auth/$AUTH_MOUNT/login" role="$ROLE" jwt=@"$JWT" >"$tokens/own" 2>/dev/null || return 1
  write_record "$(cat "$tokens/own")"
  written=$?
  end_token own
  [ "$written" -ne 0 ] || [ -z "$token" ] || kill "$agent" 2>/dev/null
  return $written
}

record_if_due() {
  record_due || return 0
  tried=$round due=$((round + 30))
  record & # so that a signal is heard meanwhile
  wait $! || return 0
  [ "$serving" = "$recorded" ] || log "serving revision $serving"
  [ "$lacks" = "$recorded_lacks" ] || [ -z "$lacks" ] ||
    log "revision $running is not complete;${unfit:+ values that do not fit: $unfit}${absent:+ not to be had: $absent}"
  recorded=$serving recorded_expires=$expires recorded_lacks=$lacks due=$((round + again))
  [ -n "$lacks" ] || : >"$WORK/.started"
}

# --- The end of the pod: nobody uses its leases any more

finish() {
  trap '' TERM INT
  [ -z "$agent" ] || kill "$agent" 2>/dev/null
  note_token
  # the agent's first; if OpenBao gives no answer to one, twice, it is away for all
  while [ "$last" -gt 0 ]; do
    end_token "$last" || end_token "$last" || {
      log "OpenBao gave no answer: what this pod was given ends with its ttl"
      exit 0
    }
    last=$((last - 1))
  done
  end_token own
  exit 0
}
trap finish TERM INT

while :; do
  round=$((round + 1))
  follow_configuration
  note_token
  if [ -z "$running" ]; then
    :
  elif publish_files; then
    end_former_tokens
    serving=$running lacks=
    record_if_due
  elif lacking; then
    serving=$recorded lacks="$running $unfit $absent"
    record_if_due
  fi
  sleep 1 &
  wait $!
done
