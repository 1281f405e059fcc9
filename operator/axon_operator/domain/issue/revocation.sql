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
