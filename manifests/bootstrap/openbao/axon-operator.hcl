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

# Secret engines of a tenant: its store (kv), its users' keys (transit), its certificate authority (pki), the
# revisions that its pods report (runtime-status) and, if it asks for databases, the engine that makes accounts there.
path "+/sys/mounts" {
  capabilities = ["read"]
}
path "+/sys/mounts/*" {
  capabilities = ["create", "read", "update", "delete", "sudo"]
}

# Keys of users are made by the users themselves; the operator only sees to it that nothing makes one by accident.
path "+/transit/config/keys" {
  capabilities = ["create", "read", "update"]
}

# One key per runtime, for which users encrypt what they grant to it. It can be made and deleted, in this form alone: it
# never leaves OpenBao, and nothing can be decrypted with it here.
path "+/transit/keys" {
  capabilities = ["list"]
}
path "+/transit/keys/rt-*" {
  capabilities = ["create", "read", "update", "delete"]
  allowed_parameters = {
    "type"             = ["aes256-gcm96"]
    "deletion_allowed" = [true]
  }
}

# The tenant's certificate authority: its key is made inside OpenBao, only by `internal`, so that it never leaves it.
# No certificate is issued or signed by the operator.
path "+/pki/root/generate/internal" {
  capabilities = ["create", "update"]
}
path "+/pki/issuer/authority" {
  capabilities = ["create", "read", "update"]
}
path "+/pki/config/crl" {
  capabilities = ["create", "read", "update"]
}
path "+/pki/config/auto-tidy" {
  capabilities = ["create", "read", "update"]
}

# Who may have a certificate: one role per binding and generation, of one form; only URIs and times differ. Certificates
# that are taken back go onto the list of revoked ones, which is then written anew. The lookup shows names of roles, no
# lease id.
path "+/pki/roles" {
  capabilities = ["list"]
}
path "+/pki/roles/rt-*" {
  capabilities = ["create", "read", "update", "delete"]
  allowed_parameters = {
    "issuer_ref"                         = ["authority"]
    "allowed_uri_sans"                   = []
    "allowed_uri_sans_template"          = [false]
    "allowed_domains"                    = [[]]
    "allowed_other_sans"                 = [[]]
    "allowed_user_ids"                   = [[]]
    "allowed_serial_numbers"             = [[]]
    "allow_any_name"                     = [false]
    "allow_localhost"                    = [false]
    "allow_bare_domains"                 = [false]
    "allow_subdomains"                   = [false]
    "allow_glob_domains"                 = [false]
    "allow_wildcard_certificates"        = [false]
    "allow_ip_sans"                      = [false]
    "require_cn"                         = [false]
    "cn_validations"                     = [["email", "hostname"]]
    "key_type"                           = ["ec"]
    "key_bits"                           = []
    "key_usage"                          = [["DigitalSignature"]]
    "ext_key_usage"                      = [["ServerAuth", "ClientAuth"]]
    "server_flag"                        = [true]
    "client_flag"                        = [true]
    "code_signing_flag"                  = [false]
    "email_protection_flag"              = [false]
    "basic_constraints_valid_for_non_ca" = [true]
    "no_store"                           = [false]
    "generate_lease"                     = [true]
    "ttl"                                = []
    "max_ttl"                            = []
    "not_after_bound"                    = ["forbid"]
    "not_before_bound"                   = ["forbid"]
  }
}
path "+/pki/crl/rotate" {
  capabilities = ["read"]
}
path "+/sys/leases/lookup/pki/issue/" {
  capabilities = ["list", "sudo"]
}
path "+/sys/leases/revoke-prefix/pki/issue/+" {
  capabilities = ["update", "sudo"]
}

# Databases: connections, to PostgreSQL only and without SQL of one's own, and the change of their password to one that
# only OpenBao knows. The operator makes no account in a database and reads none.
path "+/database/config/" {
  capabilities = ["list"]
}
path "+/database/config/+" {
  capabilities = ["create", "read", "update", "delete"]
  allowed_parameters = {
    "plugin_name"              = ["postgresql-database-plugin"]
    "connection_url"           = ["postgresql://*"]
    "username"                 = []
    "password"                 = []
    "disable_escaping"         = [false]
    "password_authentication"  = ["scram-sha-256"]
    "password_policy"          = [""]
    "root_rotation_statements" = [[]]
    "username_template"        = [""]
    "allowed_roles"            = []
    "verify_connection"        = []
    "axon_account"             = []
    "axon_credential"          = []
    "axon_rotated"             = []
    "axon_rotated_at"          = []
  }
}
path "+/database/rotate-root/+" {
  capabilities = ["update"]
}

# Roles by which OpenBao makes accounts in them: one per binding and generation. How an account ends is fixed here: without
# a login, without roles and sessions, and gone, unless something hangs on it that cannot be given to one of its roles. How it
# begins is fixed up to the roles that it is a member of; a policy compares no more than a beginning. The lookup of
# accounts shows names of roles, no lease id.
path "+/database/roles/" {
  capabilities = ["list"]
}
path "+/database/roles/+" {
  capabilities = ["create", "read", "update", "delete"]
  allowed_parameters = {
    "db_name"               = []
    "creation_statements"   = ["CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE \"*"]
    "revocation_statements" = [<<SQL
DO $$
DECLARE
  account pg_catalog.oid;
  heir pg_catalog.regrole;
  held pg_catalog.regrole;
  change pg_catalog.text;
BEGIN
  SET LOCAL search_path = pg_catalog, pg_temp; -- before anything is looked up by name: accounts may make functions
  SET LOCAL lock_timeout = '100ms';
  account := (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = '{{name}}');
  IF account IS NULL THEN
    RETURN;
  END IF;
  ALTER ROLE "{{name}}" NOLOGIN;
  FOR attempt IN 1..2 LOOP -- with its roles, for they are to inherit, then without
    BEGIN
      GRANT "{{name}}" TO CURRENT_USER;
      PERFORM pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE usesysid = account;
      FOR pause IN 1..20 LOOP -- their temporary tables end with them
        EXIT WHEN NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity WHERE usesysid = account);
        PERFORM pg_catalog.pg_sleep(0.005), pg_catalog.pg_stat_clear_snapshot();
      END LOOP;
      -- what it owns goes to a role of its that could have made it, never to one that makes roles
      heir := (
        SELECT r.oid FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles r ON r.oid = m.roleid
        WHERE m.member = account AND NOT r.rolcreaterole AND NOT r.rolsuper AND NOT EXISTS (
          SELECT FROM pg_catalog.pg_namespace n
          WHERE n.nspowner <> account AND NOT pg_catalog.has_schema_privilege(r.oid, n.oid, 'CREATE') AND n.oid IN (
            SELECT relnamespace FROM pg_catalog.pg_class
            WHERE relowner = account AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND relpersistence <> 't'
            UNION ALL SELECT pronamespace FROM pg_catalog.pg_proc WHERE proowner = account
          )
        )
        ORDER BY r.rolname LIMIT 1
      );
      IF heir IS NOT NULL THEN
        -- what lends the rights of its owner to others does so no longer
        FOR change IN
          SELECT pg_catalog.format('ALTER ROUTINE %s SECURITY INVOKER', oid::pg_catalog.regprocedure)
          FROM pg_catalog.pg_proc WHERE proowner = account AND prosecdef
          UNION ALL SELECT pg_catalog.format('ALTER VIEW %s SET (security_invoker = true)', oid::pg_catalog.regclass)
          FROM pg_catalog.pg_class WHERE relowner = account AND relkind = 'v'
          UNION ALL SELECT pg_catalog.format('DROP RULE %I ON %s', w.rulename, c.oid::pg_catalog.regclass)
          FROM pg_catalog.pg_rewrite w JOIN pg_catalog.pg_class c ON c.oid = w.ev_class
          WHERE c.relowner = account AND w.ev_type <> '1'
        LOOP
          EXECUTE change;
        END LOOP;
        EXECUTE pg_catalog.format('REASSIGN OWNED BY "{{name}}" TO %s', heir);
        DROP OWNED BY "{{name}}";
      END IF;
      DROP ROLE "{{name}}";
      RETURN;
    EXCEPTION WHEN OTHERS THEN
      RAISE LOG 'account % has no login any more, but keeps its name: %', '{{name}}', SQLERRM;
    END;
    FOR held IN SELECT roleid FROM pg_catalog.pg_auth_members WHERE member = account LOOP
      BEGIN
        EXECUTE pg_catalog.format('REVOKE %s FROM "{{name}}"', held);
      EXCEPTION WHEN insufficient_privilege THEN
        NULL; -- granted by somebody else: it ends with the name
      END;
    END LOOP;
  END LOOP;
END
$$
SQL
    ]
    "default_ttl"           = []
    "max_ttl"               = []
  }
}
path "+/sys/leases/lookup/database/creds/" {
  capabilities = ["list", "sudo"]
}
path "+/sys/leases/revoke-prefix/database/creds/+" {
  capabilities = ["update", "sudo"]
}

# Accounts that there are already, of which OpenBao keeps the password: which ones, and its change to one that only OpenBao
# knows. What is done in the database is fixed here, but for the account's name. The operator reads no password.
path "+/database/static-roles/" {
  capabilities = ["list"]
}
path "+/database/static-roles/+" {
  capabilities = ["create", "read", "update", "delete"]
  allowed_parameters = {
    "db_name"             = []
    "username"            = []
    "credential_type"     = ["password"]
    "rotation_period"     = []
    "rotation_statements" = [["ALTER ROLE \"{{name}}\" WITH PASSWORD '{{password}}'"]]
  }
}
path "+/database/rotate-role/+" {
  capabilities = ["update"]
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

# Logins of a tenant's users: the auth mount `keycloak`, its trust in the tenant's realm, two roles. The list finds
# all of them when nobody may log in any more.
path "+/auth/keycloak/config" {
  capabilities = ["create", "read", "update"]
}
path "+/auth/keycloak/role" {
  capabilities = ["list"]
}
path "+/auth/keycloak/role/*" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

# One policy per runtime; the list finds those whose runtime is gone.
path "+/sys/policies/acl" {
  capabilities = ["list"]
}
path "+/sys/policies/acl/*" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

# Suspending or deleting a tenant ends all logins of its pods and users, whatever mount they came by, what was issued
# to them (`auth`), and what administrators have issued (other mounts). The lookup verifies that nothing is left; it
# shows the first part of paths, no lease id.
path "+/sys/leases/revoke-prefix/+" {
  capabilities = ["update", "sudo"]
}
path "+/sys/leases/lookup" {
  capabilities = ["list", "sudo"]
}
path "+/sys/leases/lookup/" {
  capabilities = ["list", "sudo"]
}

# A forced logout of everybody ends the logins of people, and sees that none is left; runtimes' stay.
path "+/sys/leases/revoke-prefix/auth/keycloak" {
  capabilities = ["update", "sudo"]
}
path "+/sys/leases/lookup/auth/keycloak/*" {
  capabilities = ["list", "sudo"]
}

# A forced logout of one user disables the user's entity, and deletes it when no access token of before is good any
# more. One who never logged in gets one that is disabled. Nothing else of an entity can be changed, no policy given.
# That of a deleted runtime, by which its pods have logged in, is deleted with it.
path "+/identity/lookup/entity" {
  capabilities = ["update"]
}
path "+/identity/entity/id/+" {
  capabilities = ["update", "delete"]
  allowed_parameters = {
    "disabled" = []
    "metadata" = []
  }
}
path "+/identity/entity/name/logout-*" {
  capabilities = ["create", "read", "update"]
  allowed_parameters = {
    "disabled" = []
    "metadata" = []
  }
}
# The alias ties it to the one name under which the user would log in, at a mount of type jwt as ours is; no other
# alias is named by its id, and nothing else is noted on it.
path "+/identity/entity-alias" {
  capabilities = ["create", "update"]
  required_parameters = ["name", "canonical_id", "mount_accessor"]
  allowed_parameters = {
    "name" = []
    "canonical_id" = []
    "mount_accessor" = ["auth_jwt_*"]
  }
}

# Does a secret that a binding names exist, and has it those keys? Names of keys only, never a value.
path "+/kv/subkeys/org/*" {
  capabilities = ["read"]
}

# Has a user granted something to a runtime? Where grants are, not what is in them; those to a runtime that is gone are
# removed.
path "+/kv/subkeys/grants/*" {
  capabilities = ["read"]
}
path "+/kv/metadata/grants" {
  capabilities = ["list"]
}
path "+/kv/metadata/grants/*" {
  capabilities = ["list", "scan", "delete"]
}

# Generated values: made by OpenBao's generator, written once, and never read.
path "+/sys/policies/password/axon-*" {
  capabilities = ["create", "read", "update"]
}
path "+/kv/data/generated/+" {
  capabilities = ["create"]
}
path "+/kv/metadata/generated/" {
  capabilities = ["list"]
}
path "+/kv/metadata/generated/+" {
  capabilities = ["read", "delete"]
}

# Which bindings were given the password of such an account; holds nothing secret.
path "+/kv/data/accounts/+" {
  capabilities = ["create"]
}
path "+/kv/metadata/accounts/" {
  capabilities = ["list"]
}
path "+/kv/metadata/accounts/+" {
  capabilities = ["delete"]
}

# Which runtimes there are, for users who have something to grant to them; holds nothing secret.
path "+/kv/data/runtimes/+" {
  capabilities = ["create", "read", "update"]
}
path "+/kv/metadata/runtimes/" {
  capabilities = ["list"]
}
path "+/kv/metadata/runtimes/+" {
  capabilities = ["delete"]
}

# Which revision of its credentials each pod serves. Written by the pods, holds nothing secret. The list of the
# mount itself finds records whose runtime is gone.
path "+/runtime-status/*" {
  capabilities = ["read", "list", "delete"]
}
