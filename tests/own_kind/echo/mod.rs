//! Bindings that say a word.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use host::config::{File, Problem, Section, Tables};
use host::metrics::{Metric, Sample, Value, label};
use host::{Configured, Failure, Findings, Help, Kind, Meter, Offered, Opening, values};
use js_rpc::{Bindings, Context, JsError, Service, ServiceResult, reply};

host::catalog! {
    ALL;
    CALLS = Counter "binding_span_echo_calls", "Words that were said";
}

pub struct Echo;

const HELP: Help = Help {
    usage: "--echo <NAME=WORD>",
    option: "--echo NAME=WORD",
    table: "[echo.NAME] with word = \"WORD\"",
    in_file: "`[echo.NAME]` for an echo, with `word`",
    example: "--echo E=hello",
    example_new: "",
    example_name: "E",
    example_call: "E.say",
    examples: "  An echo that is loud:\n    callee --echo E=HELLO\n\n",
};

#[derive(Debug, Args)]
struct EchoArgs {
    /// Say WORD as the binding NAME; may be repeated
    #[arg(long, value_name = "NAME=WORD")]
    echo: Vec<String>,

    /// How long a word may be
    #[arg(
        long,
        value_name = "N",
        default_value = "100",
        help_heading = "Echoes",
        hide_short_help = true
    )]
    echo_max_length: usize,
}

/// The keys of a table.
#[derive(Debug, Args)]
struct TableArgs {
    /// What is said.
    #[arg(long, value_name = "WORD")]
    word: Option<String>,
}

#[derive(Debug, PartialEq)]
struct Word {
    name: String,
    word: String,
}

fn table(name: &str, section: &Section) -> Result<Word, Problem> {
    let lacks = || section.lacks("there is no `word`; write word = \"WORD\"");
    let args: TableArgs = section.parse()?;
    Ok(Word {
        name: name.to_owned(),
        word: args.word.ok_or_else(lacks)?,
    })
}

impl Kind for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn noun(&self) -> &'static str {
        "an echo"
    }

    fn help(&self) -> &'static Help {
        &HELP
    }

    fn augment(&self, command: Command) -> Command {
        EchoArgs::augment_args(command)
    }

    fn is_limit(&self, option: &str) -> bool {
        option == "echo-max-length"
    }

    fn tables(&self) -> Tables {
        Tables::plain("echo")
    }

    fn reloadable(&self) -> &'static [&'static str] {
        &["--echo"]
    }

    fn configured(
        &self,
        matches: &ArgMatches,
        file: Option<&File>,
    ) -> Result<Vec<Box<dyn Configured>>, Failure> {
        let args = EchoArgs::from_arg_matches(matches);
        let args = args.map_err(|error| Failure::Usage(error.to_string()))?;
        let (mut found, mut all) = (Findings::default(), Vec::new());
        if let Some(file) = file {
            for (name, section) in file.tables("echo") {
                let word = table(name, section);
                all.extend(found.take(word.map_err(|problem| file.failure(&problem))));
            }
        }
        for text in &args.echo {
            let named = values::named(text, "NAME=WORD").map_err(Failure::Usage);
            all.extend(found.take(named).map(|(name, word)| Word {
                name: name.to_owned(),
                word: word.to_owned(),
            }));
        }
        found.end()?;
        Ok(all.into_iter().map(|word| Box::new(word) as _).collect())
    }

    fn metrics(&self) -> &'static [&'static Metric] {
        ALL
    }

    fn meter(&self, _counted: bool) -> Arc<dyn Meter> {
        Arc::new(Said::default())
    }

    fn command(&self) -> Option<Command> {
        let word = Arg::new("word").required(true);
        Some(Command::new("echo").about("Say a word").arg(word))
    }

    fn run(&self, matches: &ArgMatches) -> Result<(), Failure> {
        match matches.get_one::<String>("word").map(String::as_str) {
            Some("broken") | None => Err(Failure::Callee("it is broken".into())),
            Some(word) => {
                println!("{word}");
                Ok(())
            }
        }
    }
}

#[async_trait(?Send)]
impl Configured for Word {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_same(&self, other: &dyn Configured) -> bool {
        other.downcast_ref::<Self>() == Some(self)
    }

    async fn open(&self, opening: &Opening<'_>) -> Result<Box<dyn Offered>, Failure> {
        let said = opening.meter.downcast_ref::<Said>();
        let mut counts = said.unwrap().0.lock().unwrap();
        Ok(Box::new(Speaker {
            word: self.word.clone(),
            said: Arc::clone(counts.entry(self.name.clone()).or_default()),
        }))
    }
}

#[derive(Clone)]
struct Speaker {
    word: String,
    said: Arc<AtomicU64>,
}

impl Offered for Speaker {
    fn describe(&self) -> String {
        format!("echo of {}", self.word)
    }

    fn serve(&self, name: &str, bindings: &Bindings) {
        bindings.service(name, self.clone());
    }
}

#[async_trait(?Send)]
impl Service for Speaker {
    async fn call(&self, method: &str, _args: js_rpc::Args, _cx: &Context) -> ServiceResult {
        match method {
            "say" => {
                self.said.fetch_add(1, Relaxed);
                reply(&self.word)
            }
            _ => Err(JsError::type_error("it only says a word")),
        }
    }
}

/// How often each word was said, and which are broken.
#[derive(Debug, Default)]
struct Said(Mutex<BTreeMap<String, Arc<AtomicU64>>>, Mutex<Vec<String>>);

impl Meter for Said {
    fn replace(&self, open: &[(&str, &dyn Offered)]) {
        let broken = open.iter().filter(|(_, offered)| {
            let speaker = offered.downcast_ref::<Speaker>();
            speaker.is_some_and(|speaker| speaker.word == "broken")
        });
        *self.1.lock().unwrap() = broken.map(|(name, _)| (*name).to_owned()).collect();
    }

    fn samples(&self, _metric: &'static Metric) -> Vec<Sample> {
        let counts = self.0.lock().unwrap();
        let each = counts.iter().map(|(name, count)| Sample {
            labels: vec![("binding", label(name))],
            value: Value::Count(count.load(Relaxed)),
        });
        each.collect()
    }

    fn unusable(&self) -> Vec<String> {
        let broken = self.1.lock().unwrap();
        broken
            .iter()
            .map(|name| format!("{name}: it is broken"))
            .collect()
    }
}
