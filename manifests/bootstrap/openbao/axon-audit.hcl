# Policy of axon-operator's second login, in the root namespace of OpenBao: it sees whether requests are recorded, and
# nothing else. AUDIT_CHECK=yes of bootstrap.sh makes it.

# Which audit devices there are. OpenBao wants sudo for it; devices cannot be made or removed with that.
path "sys/audit" {
  capabilities = ["read", "sudo"]
}

# Does a device answer? It hashes a text that the operator makes up. Whoever may ask can test a guess at a value that
# stands hashed in the audit log.
path "sys/audit-hash/*" {
  capabilities = ["update"]
}

# How many requests were recorded. Other metrics are told too: names of mounts and numbers, no values.
path "sys/metrics" {
  capabilities = ["read"]
}
