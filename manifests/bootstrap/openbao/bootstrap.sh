#!/bin/sh
# Lets axon-operator into an OpenBao: the parent namespace of all tenants, a login for the operator's service
# account, its policy. Run it again at any time; it changes only what differs.
#
# Needs the `bao` command, logged in as an administrator of the root namespace (BAO_ADDR, BAO_TOKEN, BAO_CACERT).
# OpenBao must run in the cluster, with the token of its own service account mounted: with that it fetches the
# keys that verify the operator's token.
#
#   OPERATOR_UID   optional: uid of the service account axon-system:axon-operator. Then an account that is deleted
#                  and created again under the same name cannot log in. Without it, a uid given earlier stays, and
#                  holds for a second login that is made later; `none` takes it off.
#   AUDIT_CHECK    optional: `yes` lets the operator see whether OpenBao records every request (vault.audit of the
#                  chart): a second login, in the root namespace, with no right but that (axon-audit.hcl).
#                  One that was made earlier stays, and is set right and pinned like the other.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
parent=axon
pin='{}' # of a login that is new: none, or that of the login before it

trust() { # auth mount
  bao read "sys/auth/$1" > /dev/null 2>&1 || bao auth enable -path="$1" jwt
  bao write "auth/$1/config" - <<EOF
{"provider_config": {"provider": "kubernetes"}}
EOF
}

let_in() { # auth mount, name of role and policy
  role=auth/$1/role/$2
  if [ "${OPERATOR_UID:-}" = none ]; then
    pin='{}'
  elif [ -n "${OPERATOR_UID:-}" ]; then
    pin="{\"/kubernetes.io/serviceaccount/uid\": [\"$OPERATOR_UID\"]}"
  elif kept=$(bao read -format=json -field=bound_claims "$role" 2> /dev/null); then
    pin=$kept
  else
    # only a role that does not exist has no pin: any other failure must not take one off
    bao read "$role" 2>&1 | grep -q 'No value found' || { echo "cannot read $role to keep its pin" >&2; exit 1; }
  fi
  bao policy write "$2" "$here/$2.hcl"
  bao write "$role" - <<EOF
{
  "role_type": "jwt",
  "user_claim": "sub",
  "bound_audiences": ["openbao"],
  "bound_subject": "system:serviceaccount:axon-system:axon-operator",
  "bound_claims": $pin,
  "token_policies": ["$2"],
  "token_no_default_policy": true,
  "token_ttl": "10m",
  "token_max_ttl": "1h",
  "clock_skew_leeway": -1,
  "expiration_leeway": -1
}
EOF
}

bao namespace lookup "$parent" > /dev/null 2>&1 || bao namespace create "$parent"
export BAO_NAMESPACE=$parent
trust k8s
let_in k8s axon-operator
unset BAO_NAMESPACE

if [ "${AUDIT_CHECK:-}" = yes ] || bao read auth/axon-audit/role/axon-audit > /dev/null 2>&1; then
  trust axon-audit
  let_in axon-audit axon-audit
fi
