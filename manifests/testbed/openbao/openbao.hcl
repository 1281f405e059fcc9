# One server on Raft, sealed with a static key, initialized from this file: no root token outlives the start.
ui = false
api_addr = "https://openbao.openbao.svc:8200"
cluster_addr = "https://127.0.0.1:8201"

listener "tcp" {
  address = "0.0.0.0:8200"
  tls_cert_file = "/openbao/tls/tls.crt"
  tls_key_file = "/openbao/tls/tls.key"
}

storage "raft" {
  path = "/openbao/data"
  node_id = "openbao"
}

seal "static" {
  current_key_id = "testbed"
  current_key = "file:///openbao/seal/key"
}

telemetry {
  prometheus_retention_time = "24h"
  disable_hostname = true
  prefix_filter = ["-vault.route"]
}

# Two devices: OpenBao refuses all requests when it can write to none. The tests read the file.
audit "file" "main" {
  options {
    file_path = "/openbao/audit/audit.log"
    mode = "0600"
  }
}
audit "file" "stdout" {
  options {
    file_path = "stdout"
  }
}

# The test bed's hand: the service account axon-testbed:admin may do everything, with tokens of its own only.
initialize "admin" {
  request "policy" {
    operation = "update"
    path = "sys/policies/acl/testbed-admin"
    data = {
      policy = "path \"*\" { capabilities = [\"create\", \"read\", \"update\", \"patch\", \"delete\", \"list\", \"scan\", \"sudo\"] }"
    }
  }
  request "auth" {
    operation = "update"
    path = "sys/auth/k8s"
    data = {
      type = "jwt"
    }
  }
  request "trust" {
    operation = "update"
    path = "auth/k8s/config"
    data = {
      provider_config = {
        provider = "kubernetes"
      }
    }
  }
  request "role" {
    operation = "update"
    path = "auth/k8s/role/testbed-admin"
    data = {
      role_type = "jwt"
      user_claim = "sub"
      bound_audiences = ["openbao"]
      bound_subject = "system:serviceaccount:axon-testbed:admin"
      token_policies = ["testbed-admin"]
      token_ttl = "30m"
    }
  }
}
