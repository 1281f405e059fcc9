#!/bin/sh
# Lets axon-operator into an OpenBao: the parent namespace of all tenants, a login for the operator's service
# account, its policy. Run it again at any time; it changes only what differs.
#
# Needs the `bao` command, logged in as an administrator of the root namespace (BAO_ADDR, BAO_TOKEN, BAO_CACERT).
# OpenBao must run in the cluster, with the token of its own service account mounted: with that it fetches the
# keys that verify the operator's token.
#
#   OPERATOR_UID   optional: uid of the service account axon-system:axon-operator. Then an account that is deleted
#                  and created again under the same name cannot log in. Without it, a uid given earlier stays;
#                  `none` takes it off.
set -eu
policy=$(cd "$(dirname "$0")" && pwd)/axon-operator.hcl
parent=axon

bao namespace lookup "$parent" > /dev/null 2>&1 || bao namespace create "$parent"
export BAO_NAMESPACE=$parent

bao read sys/auth/k8s > /dev/null 2>&1 || bao auth enable -path=k8s jwt
bao write auth/k8s/config - <<EOF
{"provider_config": {"provider": "kubernetes"}}
EOF

bao policy write axon-operator "$policy"

role=auth/k8s/role/axon-operator
if [ "${OPERATOR_UID:-}" = none ]; then
  claims='{}'
elif [ -n "${OPERATOR_UID:-}" ]; then
  claims="{\"/kubernetes.io/serviceaccount/uid\": [\"$OPERATOR_UID\"]}"
elif ! claims=$(bao read -format=json -field=bound_claims "$role" 2> /dev/null); then
  # only a role that does not exist has no pin: any other failure must not take one off
  bao read "$role" 2>&1 | grep -q 'No value found' || { echo "cannot read $role to keep its pin" >&2; exit 1; }
  claims='{}'
fi
bao write "$role" - <<EOF
{
  "role_type": "jwt",
  "user_claim": "sub",
  "bound_audiences": ["openbao"],
  "bound_subject": "system:serviceaccount:axon-system:axon-operator",
  "bound_claims": $claims,
  "token_policies": ["axon-operator"],
  "token_no_default_policy": true,
  "token_ttl": "10m",
  "token_max_ttl": "1h",
  "clock_skew_leeway": -1,
  "expiration_leeway": -1
}
EOF
