//! An answer of HTTP as it was read to the end of its connection.

/// Its status and its body.
pub fn read(answer: Vec<u8>) -> (u16, String) {
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let head = head.to_ascii_lowercase();
    let body = match head.contains("transfer-encoding: chunked") {
        true => unchunk(body),
        false => body.to_owned(),
    };
    (status.unwrap_or_else(|| panic!("not HTTP: {answer}")), body)
}

fn unchunk(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, behind)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        body.push_str(&behind[..size]);
        rest = behind[size..].trim_start_matches("\r\n");
    }
    body
}
