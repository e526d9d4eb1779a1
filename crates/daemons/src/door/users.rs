//! Users and groups by name, as `/etc/passwd` and `/etc/group` have them. Names from elsewhere (LDAP and
//! the like) are given by number.

/// Reads a user: a uid, or a name.
pub(crate) fn user(text: &str) -> Result<u32, String> {
    number(text, "user", "/etc/passwd")
}

/// Reads a group: a gid, or a name.
pub(crate) fn group(text: &str) -> Result<u32, String> {
    number(text, "group", "/etc/group")
}

fn number(text: &str, what: &str, file: &str) -> Result<u32, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let known = std::fs::read(file).unwrap_or_default();
    find(&String::from_utf8_lossy(&known), text)
        .ok_or_else(|| format!("there is no {what} {text:?} in {file}; give its number"))
}

/// In both files a line begins with the name, a password and the number, with colons between.
fn find(file: &str, name: &str) -> Option<u32> {
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next() == Some(name) && !name.is_empty();
        found.then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_found_and_nothing_is_guessed() {
        let file = "root:x:0:0:root:/root:/bin/sh\n\nbroken\napp:x:1001:1001::/:\nbad:x:y:\n";
        assert_eq!(find(file, "app"), Some(1001));
        for name in ["", "ap", "broken", "bad", "x"] {
            assert_eq!(find(file, name), None, "{name}");
        }
        assert_eq!(user("12"), Ok(12));
        assert!(user("-1").is_err() && user("no such user").is_err());
    }
}
