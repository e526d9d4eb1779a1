//! The usage and the examples of the help, put together from what the kinds of bindings say.

use host::Help;

use crate::cli::exit_codes;
use crate::kinds;

/// How it is called, in a line for each kind.
pub(crate) fn usage() -> String {
    const LISTEN: &str = "--listen <ADDR[,binding=NAME]>";
    let each = kinds::all().iter().map(|kind| kind.help().usage);
    let mut ways: Vec<String> = each.map(|usage| format!("{LISTEN} {usage}")).collect();
    if let Some(first) = first() {
        ways.push(format!("--dev-registry {}", first.usage));
    }
    ways.push("--config <FILE>".to_owned());
    let ways = ways
        .into_iter()
        .map(|way| format!("callee [OPTIONS] {way}"));
    ways.collect::<Vec<_>>().join("\n       ")
}

/// What the file may say.
pub(super) fn file() -> String {
    let tables: Vec<&str> = kinds::all()
        .iter()
        .map(|kind| kind.help().in_file)
        .collect();
    format!(
        "Read what the options do not say from a TOML file\n\nIts keys are the names of the options; besides, each \
         binding can have a table: {}. An option wins over its variable, and both over the file.",
        tables.join("; ")
    )
}

/// Some examples.
pub(super) fn examples() -> String {
    let Some(Help {
        example,
        example_new,
        example_call,
        ..
    }) = first()
    else {
        return "More with --help.".to_owned();
    };
    format!(
        "\
Examples:
  callee --listen unix:/run/callee.sock {example}
  callee --listen 127.0.0.1:7400 {example}{example_new} --tail stderr

Then: bspan call --connect unix:/run/callee.sock {example_call}
More with --help."
    )
}

/// More examples, and what to know of signals and exit codes.
pub(super) fn all_examples() -> String {
    let own: String = kinds::all()
        .iter()
        .map(|kind| kind.help().examples)
        .collect();
    let first = first().map_or_else(String::new, with);
    let examples = format!(
        "\
Examples:
{first}{own}  \
  Everything in a file, see examples/callee.toml:
    callee --config callee.toml --check-config && callee --config callee.toml
"
    );
    let call = self::first().map_or_else(String::new, |help| {
        let call = help.example_call;
        format!("\n  Call it:\n    bspan call --connect unix:/run/callee.sock {call}\n")
    });
    format!("{examples}{call}{}", END)
}

/// What does not depend on what is served, with a binding of the first kind.
fn with(help: &Help) -> String {
    let Help {
        example,
        example_new,
        example_name,
        ..
    } = help;
    format!(
        "  \
  A binding on a unix socket; only this user can connect (mode 0600):
    callee --listen unix:/run/callee.sock {example}

  The same for a workerd on this machine (capnpConnectHost), whatever host name it sends:
    callee --listen 127.0.0.1:7400,binding={example_name} {example}

  For other machines: certificates on both sides, each read again when it is renewed:
    callee --listen tls:*:7400 --tls-cert ./callee.pem --tls-key ./callee.key \\
           --tls-client-ca ./ca.pem {example}

  For another user of this machine, who is in the group `apps`:
    callee --listen unix:/run/callee.sock --socket-group apps --allow-uid web {example}

  For Workers under `wrangler dev`, which reach it as the service {example_name} (docs/wrangler.md):
    callee {example}{example_new} --dev-registry

"
    )
}

fn first() -> Option<&'static Help> {
    kinds::all().first().map(|kind| kind.help())
}

const END: &str = concat!(
    "
  Completions for a shell (bash, zsh, fish), and manual pages:
    callee --generate bash > ~/.local/share/bash-completion/completions/callee
    callee --generate man ~/.local/share/man/man1

A ready callee prints a line for each listener to stderr. SIGTERM and SIGINT let the calls in
flight finish within --drain and remove the sockets; another signal, a second later or more, ends it
at once. SIGHUP reads the file again: bindings and the log's filter change while it serves.

",
    exit_codes!()
);
