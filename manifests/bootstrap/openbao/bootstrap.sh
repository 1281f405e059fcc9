#!/bin/sh
# Lets axon-operator into an OpenBao: the parent namespace of all tenants, a login for the operator's service
# account, its policy. Run it again at any time; it changes only what differs.
#
# Needs the `bao` command, logged in as an administrator of the root namespace (BAO_ADDR, BAO_TOKEN, BAO_CACERT).
# OpenBao must run in the cluster, with the token of its own service account mounted: with that it fetches the
# keys that verify the operator's token.
#
#   OPERATOR_UID   optional: uid of the service account axon-system:axon-operator. Then an account that is deleted
#                  and created again under the same name cannot log in.
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

claims='{}'
if [ -n "${OPERATOR_UID:-}" ]; then
  claims="{\"/kubernetes.io/serviceaccount/uid\": [\"$OPERATOR_UID\"]}"
fi
bao write auth/k8s/role/axon-operator - <<EOF
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
