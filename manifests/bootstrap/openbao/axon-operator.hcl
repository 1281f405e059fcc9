# Policy of axon-operator, inside the parent namespace `axon` of OpenBao: every path is relative to it, `+` is
# one tenant's namespace. It reads no secret value, and nothing outside the parent namespace can be reached.

# A tenant is a child namespace; its owner mark is custom_metadata. The list finds those whose Tenant is gone.
path "sys/namespaces" {
  capabilities = ["list"]
}
path "sys/namespaces/+" {
  capabilities = ["create", "read", "update", "patch", "delete"]
}

# Suspending a tenant locks its namespace; unlocking without the key needs sudo.
path "sys/namespaces/api-lock/lock/+" {
  capabilities = ["create", "update", "sudo"]
}
path "sys/namespaces/api-lock/unlock/+" {
  capabilities = ["create", "update", "sudo"]
}

# Secret engines of a tenant: its store (kv) and the revisions that its pods report (runtime-status).
path "+/sys/mounts" {
  capabilities = ["read"]
}
path "+/sys/mounts/*" {
  capabilities = ["create", "read", "update", "delete", "sudo"]
}

# Logins of a tenant's pods: the auth mount `k8s`, its trust in the cluster, one role per runtime. The list finds
# those whose runtime is gone.
path "+/sys/auth" {
  capabilities = ["read"]
}
path "+/sys/auth/*" {
  capabilities = ["create", "read", "update", "delete", "sudo"]
}
path "+/auth/k8s/config" {
  capabilities = ["create", "read", "update"]
}
path "+/auth/k8s/role" {
  capabilities = ["list"]
}
path "+/auth/k8s/role/*" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

# One policy per runtime; the list finds those whose runtime is gone.
path "+/sys/policies/acl" {
  capabilities = ["list"]
}
path "+/sys/policies/acl/*" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

# Suspending or deleting a tenant ends all tokens of its pods; the lookup verifies that none is left.
path "+/sys/leases/revoke-prefix/auth/k8s" {
  capabilities = ["update", "sudo"]
}
path "+/sys/leases/revoke-prefix/auth/k8s/*" {
  capabilities = ["update", "sudo"]
}
path "+/sys/leases/lookup/auth/k8s/*" {
  capabilities = ["list", "sudo"]
}

# Does a secret that a binding names exist, and has it those keys? Names of keys only, never a value.
path "+/kv/subkeys/org/*" {
  capabilities = ["read"]
}

# Which revision of its credentials each pod serves. Written by the pods, holds nothing secret. The list of the
# mount itself finds records whose runtime is gone.
path "+/runtime-status/*" {
  capabilities = ["read", "list", "delete"]
}
