//! Addresses of servers: `postgres://user@host:port/database?sslmode=verify-full&sslrootcert=ca.pem`.

use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use super::super::options::{PostgresOptions, SslMode};

const NO_PASSWORD: &str = "a PostgreSQL URL must have no password in it, since command lines, settings and logs are seen \
    by many; name a file with the password, or pass it by the environment";

impl PostgresOptions {
    /// Takes `sslmode`, `sslrootcert`, `sslcert`, `sslkey` and `connect_timeout` out of a URL. The error is one line for
    /// people, without the URL's user.
    pub fn from_url(url: &str, table: &str) -> Result<Self, String> {
        let rest = url
            .strip_prefix("postgres://")
            .or_else(|| url.strip_prefix("postgresql://"))
            .ok_or("a PostgreSQL URL begins with postgres:// or postgresql://")?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let authority = place.split('/').next().unwrap_or_default();
        // Percent-encoded, a user has no `@`; what has two of them may be a password with one in it.
        if let Some((user, _)) = authority.rsplit_once('@')
            && user.contains(':')
        {
            return Err(NO_PASSWORD.into());
        }
        if place.contains('#') || place.matches('@').count() > 1 {
            return Err("write @, / and # in a PostgreSQL URL's user as %40, %2F and %23".into());
        }
        check_table(table)?;
        let mut options = Self::new(String::new(), table);
        let mut kept = form_urlencoded::Serializer::new(String::new());
        let (mut certificate, mut key) = (None, None);
        let mut seen = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if seen.contains(&name) {
                return Err(format!("{name} is twice in the PostgreSQL URL"));
            }
            match &*name {
                "password" | "sslpassword" => return Err(NO_PASSWORD.into()),
                "sslmode" => options.ssl_mode = ssl_mode(&value)?,
                "sslrootcert" if value == "system" => {}
                "sslrootcert" => options.ssl_root_cert = Some(path(&name, &value)?),
                "sslcert" => certificate = Some(path(&name, &value)?),
                "sslkey" => key = Some(path(&name, &value)?),
                "connect_timeout" => {
                    let seconds = value.parse().ok().filter(|seconds| *seconds > 0);
                    let seconds = seconds.ok_or("connect_timeout is in seconds, from 1")?;
                    options.connect_timeout = Duration::from_secs(seconds);
                }
                _ => {
                    kept.append_pair(&name, &value);
                }
            }
            seen.push(name);
        }
        options.ssl_identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return Err("sslcert needs sslkey, the file of its key".into()),
            (None, Some(_)) => {
                return Err("sslkey needs sslcert, the file of its certificate".into());
            }
        };
        // The driver reads %20 as a space, but not +.
        let kept = kept.finish().replace('+', "%20");
        let mark = if kept.is_empty() { "" } else { "?" };
        options.url = format!("postgres://{place}{mark}{kept}");
        parse(&options.url)?;
        Ok(options)
    }
}

/// A schema and a table, or a table.
pub(super) fn check_table(table: &str) -> Result<(), String> {
    let fits = |name: &str| !name.is_empty() && name.len() <= 63 && !name.contains('\0');
    let mut parts = table.splitn(2, '.');
    match parts.all(fits) {
        true => Ok(()),
        false => Err(
            "a table is a name of 1 to 63 bytes, or a schema's name, a dot and a table's".into(),
        ),
    }
}

/// What the driver makes of a URL without `ssl*` parameters.
pub(super) fn parse(url: &str) -> Result<tokio_postgres::Config, String> {
    let config: tokio_postgres::Config = url.parse().map_err(|error: tokio_postgres::Error| {
        // Its cause names the parameter only.
        match error.source() {
            Some(cause) => format!("the PostgreSQL URL is invalid: {cause}"),
            None => "the PostgreSQL URL is invalid".to_owned(),
        }
    })?;
    if config.get_password().is_some() {
        return Err(NO_PASSWORD.into());
    }
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(
            "the PostgreSQL URL has no host; a folder of Unix sockets is written ?host=/run/postgresql"
                .into(),
        );
    }
    Ok(config)
}

fn ssl_mode(value: &str) -> Result<SslMode, String> {
    match value {
        "disable" => Ok(SslMode::Disable),
        "prefer" => Ok(SslMode::Prefer),
        "require" => Ok(SslMode::Require),
        "verify-ca" => Ok(SslMode::VerifyCa),
        "verify-full" => Ok(SslMode::VerifyFull),
        _ => Err("sslmode is disable, prefer, require, verify-ca or verify-full".into()),
    }
}

fn path(name: &str, value: &str) -> Result<PathBuf, String> {
    match value.is_empty() {
        true => Err(format!("{name} names a file")),
        false => Ok(value.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<PostgresOptions, String> {
        PostgresOptions::from_url(url, "docs")
    }

    #[test]
    fn what_concerns_tls_is_taken_out_and_the_rest_stays() {
        let url = "postgres://me@db:5433/rag?sslmode=verify-full&sslrootcert=ca.pem&sslcert=c.pem&sslkey=k.pem\
            &connect_timeout=7&application_name=a%20b";
        let options = read(url).unwrap();
        assert_eq!(
            options.url,
            "postgres://me@db:5433/rag?application_name=a%20b"
        );
        assert_eq!(options.ssl_mode, SslMode::VerifyFull);
        assert_eq!(options.ssl_root_cert, Some("ca.pem".into()));
        assert_eq!(options.ssl_identity, Some(("c.pem".into(), "k.pem".into())));
        assert_eq!(options.connect_timeout, Duration::from_secs(7));
        let config = parse(&options.url).unwrap();
        assert_eq!(config.get_application_name(), Some("a b"));
    }

    #[test]
    fn several_hosts_and_sockets_are_addresses_too() {
        let options =
            read("postgresql://me@one:1,two:2/rag?target_session_attrs=read-write").unwrap();
        assert_eq!(parse(&options.url).unwrap().get_hosts().len(), 2);
        let options = read("postgres://me@/rag?host=/run/postgresql").unwrap();
        assert_eq!(parse(&options.url).unwrap().get_hosts().len(), 1);
        let options = read("postgres://db/rag?sslrootcert=system").unwrap();
        assert_eq!(options.ssl_root_cert, None);
    }

    #[test]
    fn no_password_is_taken_and_none_is_repeated() {
        for url in [
            "postgres://me:hunter2@db/rag",
            "postgres://me:hunter2@x@db/rag",
            "postgres://me:@db/rag",
            "postgres://me@db/rag?password=hunter2",
            "postgres://me@db/rag?sslmode=require&sslpassword=hunter2",
        ] {
            assert_eq!(read(url), Err(NO_PASSWORD.to_owned()), "{url}");
        }
        for url in [
            "mysql://secret@db/rag",
            "postgres://secret@db:port/rag",
            "postgres://secret@db/rag?sslmode=allow",
            "postgres://secret@db/rag?sslkey=k.pem",
            "postgres://secret@db/rag?sslcert=c.pem",
            "postgres://secret@db/rag?sslrootcert=",
            "postgres://secret@db/rag?passfile=x",
            "postgres://secret@db/rag?connect_timeout=0",
            "postgres://secret@db/rag?port=1&port=2",
            "postgres://secret@more@db/rag",
            "postgres://",
        ] {
            let error = read(url).unwrap_err();
            assert!(!error.contains("secret"), "{url}: {error}");
        }
        let error = read("postgres://me@db/rag?passfile=x").unwrap_err();
        assert!(error.contains("passfile"), "{error}");
    }

    #[test]
    fn a_table_has_a_name_that_postgresql_can_have() {
        for table in ["docs", "rag.docs", "Docs \"x\""] {
            assert!(
                PostgresOptions::from_url("postgres://db/rag", table).is_ok(),
                "{table}"
            );
        }
        let long = "x".repeat(64);
        for table in ["", ".docs", "rag.", "a\0b", &long] {
            assert!(
                PostgresOptions::from_url("postgres://db/rag", table).is_err(),
                "{table}"
            );
        }
    }
}
