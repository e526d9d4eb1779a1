//! What a caller's SQL may do: the authorizer that SQLite asks while it prepares a statement.
//!
//! The list follows D1's: one database, no temporary tables, no other files, no transactions by hand (a
//! batch is one), and of the PRAGMAs those that read the schema, check it, or loosen a rule for the call.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Connection, config::DbConfig};

use super::error::QueryError;

const TEMPORARY: &str = "A temporary table, view or trigger";
const USE_A_BATCH: &str = "the statements of one call are one transaction: send them as a batch";

/// The settings that a call may change, back to what they are for everybody.
const RESTORE: &str = "PRAGMA case_sensitive_like = 0; PRAGMA ignore_check_constraints = 0; \
     PRAGMA legacy_alter_table = 0; PRAGMA recursive_triggers = 0; PRAGMA reverse_unordered_selects = 0;";

/// Functions that load code or reach into SQLite's memory.
const DENIED_FUNCTIONS: [&str; 2] = ["load_extension", "fts3_tokenizer"];

/// Modules of virtual tables that keep their data in the database itself.
const ALLOWED_MODULES: [&str; 4] = ["fts5", "fts5vocab", "rtree", "rtree_i32"];

/// One connection's authorizer, and what it remembers.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Set while SQL of our own runs: `BEGIN`, `COMMIT`, the figures of `meta`.
    ours: AtomicBool,
    /// Set when a call changed a setting that would outlive it.
    changed_settings: AtomicBool,
    denied: Mutex<Option<QueryError>>,
}

impl Gate {
    /// Puts a gate before every statement of the connection.
    pub(super) fn install(connection: &mut Connection) -> rusqlite::Result<Arc<Self>> {
        let gate = Arc::new(Self::default());
        let asked = Arc::clone(&gate);
        connection.authorizer(Some(move |context: AuthContext<'_>| asked.decide(&context)))?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        Ok(gate)
    }

    /// Runs SQL of our own, on which the gate has no say.
    pub(super) fn ours<T>(&self, run: impl FnOnce() -> T) -> T {
        /// Shuts the gate again, whatever happens in between.
        struct Shut<'a>(&'a AtomicBool);
        impl Drop for Shut<'_> {
            fn drop(&mut self) {
                self.0.store(false, Ordering::Relaxed);
            }
        }
        self.ours.store(true, Ordering::Relaxed);
        let _shut = Shut(&self.ours);
        run()
    }

    /// Why the last statement was refused, if the gate refused it.
    pub(super) fn take_denial(&self) -> Option<QueryError> {
        self.denied
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Undoes the settings that a call changed for itself.
    pub(super) fn restore_settings(&self, connection: &Connection) -> rusqlite::Result<()> {
        if self.changed_settings.swap(false, Ordering::Relaxed) {
            self.ours(|| connection.execute_batch(RESTORE))?;
        }
        Ok(())
    }

    fn decide(&self, context: &AuthContext<'_>) -> Authorization {
        if self.ours.load(Ordering::Relaxed) {
            return Authorization::Allow;
        }
        match self.judge(&context.action, context.database_name) {
            Ok(()) => Authorization::Allow,
            Err(denial) => {
                *self.denied.lock().unwrap_or_else(PoisonError::into_inner) = Some(denial);
                Authorization::Deny
            }
        }
    }

    fn judge(&self, action: &AuthAction<'_>, database: Option<&str>) -> Result<(), QueryError> {
        if database == Some("temp") && !leaves_temp_alone(action) {
            return Err(denied(TEMPORARY, None));
        }
        match *action {
            AuthAction::Transaction { .. } => {
                Err(denied("BEGIN, COMMIT or ROLLBACK", Some(USE_A_BATCH)))
            }
            AuthAction::Savepoint { .. } => Err(denied("SAVEPOINT", Some(USE_A_BATCH))),
            AuthAction::Attach { .. } | AuthAction::Detach { .. } => Err(denied(
                "Another database file",
                Some("a binding is one database"),
            )),
            AuthAction::CreateTempIndex { .. }
            | AuthAction::CreateTempTable { .. }
            | AuthAction::CreateTempTrigger { .. }
            | AuthAction::CreateTempView { .. }
            | AuthAction::DropTempIndex { .. }
            | AuthAction::DropTempTable { .. }
            | AuthAction::DropTempTrigger { .. }
            | AuthAction::DropTempView { .. } => Err(denied(TEMPORARY, None)),
            AuthAction::CreateVtable { module_name, .. }
            | AuthAction::DropVtable { module_name, .. } => named(&ALLOWED_MODULES, module_name)
                .then_some(())
                .ok_or_else(|| denied(&format!("The module {}", short(module_name)), None)),
            AuthAction::Function { function_name } if named(&DENIED_FUNCTIONS, function_name) => {
                Err(denied(
                    &format!("The function {}", short(function_name)),
                    None,
                ))
            }
            AuthAction::Pragma {
                pragma_name,
                pragma_value,
            } => self.judge_pragma(pragma_name, pragma_value),
            AuthAction::Unknown { code, .. } => {
                Err(denied(&format!("Action {code} of SQLite's"), None))
            }
            _ if matches!(database, None | Some("main" | "temp")) => Ok(()),
            // ALTER TABLE passes the database's name elsewhere and the new name here.
            AuthAction::AlterTable { .. } => Ok(()),
            _ => Err(denied(
                "Another database file",
                Some("a binding is one database"),
            )),
        }
    }

    fn judge_pragma(&self, name: &str, value: Option<&str>) -> Result<(), QueryError> {
        let name = name.to_ascii_lowercase();
        let allowed = match name.as_str() {
            "data_version" | "page_size" | "page_count" | "schema_version" | "user_version"
            | "encoding" | "journal_mode" | "collation_list" | "compile_options" => value.is_none(),
            "foreign_keys" | "defer_foreign_keys" => true,
            "case_sensitive_like"
            | "ignore_check_constraints"
            | "legacy_alter_table"
            | "recursive_triggers"
            | "reverse_unordered_selects" => {
                self.changed_settings
                    .fetch_or(value.is_some(), Ordering::Relaxed);
                true
            }
            "table_list" | "table_info" | "table_xinfo" | "index_info" | "index_list"
            | "index_xinfo" | "foreign_key_list" | "foreign_key_check" | "quick_check"
            | "optimize" => true,
            _ => false,
        };
        allowed
            .then_some(())
            .ok_or_else(|| denied(&format!("PRAGMA {}", short(&name)), None))
    }
}

/// Whether nothing is made or changed in `temp`, where it would come before the tables of `main` for all later
/// calls of the connection. To rename a table, SQLite itself looks for its name in the schema of `temp`.
fn leaves_temp_alone(action: &AuthAction<'_>) -> bool {
    match *action {
        AuthAction::Read { .. }
        | AuthAction::Select
        | AuthAction::Function { .. }
        | AuthAction::Recursive
        | AuthAction::Pragma { .. } => true,
        AuthAction::Update { table_name, .. } => {
            named(&["sqlite_temp_master", "sqlite_temp_schema"], table_name)
        }
        _ => false,
    }
}

fn denied(what: &str, instead: Option<&'static str>) -> QueryError {
    QueryError::NotAllowed {
        what: what.to_owned(),
        instead,
    }
}

fn named(list: &[&str], name: &str) -> bool {
    list.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// A peer's word in our message, at a length that fits one.
fn short(name: &str) -> String {
    name.chars().take(40).collect()
}
