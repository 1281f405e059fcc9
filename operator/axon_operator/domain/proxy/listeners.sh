# For the script of the `credentials` sidecar (POSIX sh): the ports on which Envoy listens.
#
# Envoy follows listeners.json by its rename. A listener stands there only while the file with its credential does,
# so this runs whenever one has been published or removed, and once before Envoy starts.
publish_listeners() { # LISTENERS FOLDER
  {
    printf '{"resources":['
    separator=
    while read -r file listener; do
      [ -s "$2/$file" ] || continue
      printf '%s\n%s' "$separator" "$listener"
      separator=,
    done <"$1"
    printf ']}\n'
  } >"$2/.listeners.json.new" || return 1
  cmp -s "$2/.listeners.json.new" "$2/listeners.json" || mv -f "$2/.listeners.json.new" "$2/listeners.json"
}
