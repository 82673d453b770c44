//! `init`: asks for what is needed, tries it, and writes `.env`.

use std::{
    fs,
    io::{self, BufRead, IsTerminal, Write},
    path::Path,
};

use super::{Exit, Failure, context::Context, doctor, out};
use crate::{
    config::{self, Assignment, Config, FileOfValue, Inputs, Origin, Setting},
    elastic::Check,
    untrusted::system_said,
};

const FILE: &str = ".env";

/// One question.
struct Question {
    setting: &'static str,
    /// What is asked for, and where it is found.
    text: &'static str,
}

const ZOOM: [Question; 3] = [
    Question {
        setting: "ZOOM_ACCOUNT_ID",
        text: "Account ID",
    },
    Question {
        setting: "ZOOM_CLIENT_ID",
        text: "Client ID",
    },
    Question {
        setting: "ZOOM_CLIENT_SECRET",
        text: "Client secret",
    },
];
const ELASTIC_URL: Question = Question {
    setting: "ELASTICSEARCH_URL",
    text: "URL of Elasticsearch or OpenSearch; empty: harvest into the catalog only",
};
const API_KEY: Question = Question {
    setting: "ELASTICSEARCH_API_KEY",
    text: "API key (its `encoded` form); empty: user and password, or none",
};
const USER: Question = Question {
    setting: "ELASTICSEARCH_USER",
    text: "User; empty: none",
};
const PASSWORD: Question = Question {
    setting: "ELASTICSEARCH_PASSWORD",
    text: "Password",
};
const DB: Question = Question {
    setting: "ZOOM_HARVESTER_DB",
    text: "File of the catalog",
};

/// The answers, and the settings that were there before.
struct Answers<'a> {
    inputs: &'a Inputs,
    said: Vec<Assignment>,
}

pub fn run(mut context: Context, inputs: &Inputs) -> Result<Exit, Failure> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Failure::usage(
            "init asks questions and needs a terminal; without one, write .env yourself: docs/configuration.md says how",
        ));
    }
    let mut answers = Answers {
        inputs,
        said: inputs.dotenv.clone(),
    };
    out::print(
        "The answers are tried, and written to .env in this folder. An answer in [brackets] is what Enter keeps; secrets are not shown.\n\
         \nZoom: the app's page in the Zoom App Marketplace (Develop, your Server-to-Server OAuth app, App Credentials)",
    )?;
    loop {
        for question in &ZOOM {
            answers.ask(question)?;
        }
        answers.apply(&mut context)?;
        let tried = context.block_on(async { Ok(doctor::zoom(&context).await) })?;
        if goes_on(&tried)? {
            break;
        }
    }
    out::print("\nElasticsearch")?;
    loop {
        answers.ask(&ELASTIC_URL)?;
        if answers.value("ELASTICSEARCH_URL").is_none() {
            break;
        }
        answers.ask(&API_KEY)?;
        if answers.value("ELASTICSEARCH_API_KEY").is_none() {
            answers.ask(&USER)?;
            match answers.value("ELASTICSEARCH_USER") {
                Some(_) => answers.ask(&PASSWORD)?,
                None => answers.say("ELASTICSEARCH_PASSWORD", ""),
            }
        } else {
            answers.say("ELASTICSEARCH_USER", "");
            answers.say("ELASTICSEARCH_PASSWORD", "");
        }
        match answers.apply(&mut context) {
            Ok(()) => {}
            // An invalid URL or key: report it and ask again.
            Err(failure) => {
                out::print(&format!("WRONG  {}", failure.message))?;
                continue;
            }
        }
        let tried = context.block_on(async {
            Ok(doctor::elastic(&context).await.unwrap_or_else(|failure| {
                vec![doctor::failed(
                    "elasticsearch",
                    failure.message,
                    "fix what the message names",
                )]
            }))
        })?;
        if goes_on(&tried)? {
            break;
        }
    }
    out::print("\nThe catalog")?;
    answers.ask(&DB)?;
    answers.apply(&mut context)?;
    write(&answers.said)?;
    out::print(
        "\n.env is written; only you can read it. Next:\n  zoom-harvester plan --from 7d    what a sync of the last week would ask of Zoom\n  \
         zoom-harvester sync --from 7d    the sync",
    )?;
    Ok(Exit::Done)
}

/// Shows the checks; returns whether to go on with these answers.
fn goes_on(tried: &[Check]) -> Result<bool, Failure> {
    out::print(&doctor::shown(tried))?;
    if tried.iter().all(|check| check.ok) {
        return Ok(true);
    }
    let answer = line("Answer these questions again? [Y/n] ")?;
    Ok(matches!(answer.to_ascii_lowercase().as_str(), "n" | "no"))
}

impl Answers<'_> {
    /// The value of a setting in the answers or `.env`.
    fn value(&self, name: &str) -> Option<&str> {
        let said = self.said.iter().find(|one| one.name == name);
        said.map(|one| one.value.as_str())
            .filter(|value| !value.trim().is_empty())
    }

    fn say(&mut self, name: &str, value: &str) {
        self.said.retain(|one| one.name != name);
        self.said.push(Assignment {
            line: 0,
            name: name.to_owned(),
            value: value.to_owned(),
        });
    }

    fn ask(&mut self, question: &Question) -> Result<(), Failure> {
        let Some(setting) = config::SETTINGS
            .iter()
            .find(|setting| setting.name == question.setting)
        else {
            return Ok(());
        };
        let name = setting.name;
        let in_environment = self.inputs.environment.iter();
        let in_environment = in_environment.filter(|(said, value)| said == name && !value.is_empty());
        let handed = self.handed_over().filter(|one| one.setting.name == name);
        if in_environment.count() + handed.count() > 0 {
            out::print(&format!(
                "{}: the environment says {name}, and wins over .env",
                question.text
            ))?;
            return Ok(());
        }
        let before = self.value(name).map(str::to_owned);
        let kept = match (&before, setting.secret) {
            (Some(_), true) => " [kept]".to_owned(),
            (Some(value), false) => format!(" [{value}]"),
            (None, _) if !setting.default.is_empty() => format!(" [{}]", setting.default),
            (None, _) => String::new(),
        };
        let prompt = format!("{}{kept}: ", question.text);
        loop {
            let answer = match setting.secret {
                true => secret(&prompt)?,
                false => line(&prompt)?,
            };
            match (answer.as_str(), &before) {
                ("", Some(_)) => return Ok(()),
                ("", None) if is_needed(setting) => out::print("  this is needed")?,
                // A dash removes the previous value.
                ("-", _) if !is_needed(setting) => {
                    self.say(name, "");
                    return Ok(());
                }
                (answer, _) if answer.contains(char::is_control) => out::print("  one plain line, please")?,
                (answer, _) => {
                    self.say(name, answer);
                    return Ok(());
                }
            }
        }
    }

    /// Values that come in files, except those that `.env` names.
    fn handed_over(&self) -> impl Iterator<Item = &FileOfValue> {
        let by_dotenv = |origin: &Origin| matches!(origin, Origin::Named { line: Some(_), .. });
        self.inputs
            .values
            .iter()
            .filter(move |one| !by_dotenv(&one.origin))
    }

    /// Builds the configuration with these answers in place of `.env`.
    fn apply(&self, context: &mut Context) -> Result<(), Failure> {
        context.config = Config::new(&Inputs {
            db: self.inputs.db.clone(),
            environment: self.inputs.environment.clone(),
            dotenv: self.said.clone(),
            file: self.inputs.file.clone(),
            values: self.handed_over().cloned().collect(),
        })?;
        Ok(())
    }
}

fn is_needed(setting: &Setting) -> bool {
    ZOOM.iter().any(|question| question.setting == setting.name)
}

fn line(prompt: &str) -> Result<String, Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(out::clean(prompt).as_bytes())?;
    stdout.flush()?;
    let mut answer = String::new();
    match io::stdin().lock().read_line(&mut answer) {
        Ok(0) => Err(ended()),
        Ok(_) => Ok(answer.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(Failure::usage(
            "the answer is not valid UTF-8; nothing was written",
        )),
        Err(error) => Err(error.into()),
    }
}

fn secret(prompt: &str) -> Result<String, Failure> {
    match rpassword::prompt_password(prompt) {
        Ok(answer) => Ok(answer.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ended()),
        Err(error) => Err(error.into()),
    }
}

fn ended() -> Failure {
    Failure::usage("the answers ended early; nothing was written")
}

/// Writes `.env` atomically. Lines about other things stay as they are.
fn write(said: &[Assignment]) -> Result<(), Failure> {
    let refused = |error: io::Error| {
        Failure::usage(format!(
            "{FILE} cannot be written: {}; nothing was changed",
            system_said(&error)
        ))
    };
    let before = match fs::read_to_string(FILE) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(refused(error)),
    };
    let text = config::with_assignments(&before, said)?;
    let unfinished = format!("{FILE}.{}", std::process::id());
    let written = create_private(Path::new(&unfinished))
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&unfinished, FILE));
    written.map_err(|error| {
        let _ = fs::remove_file(&unfinished);
        refused(error)
    })
}

#[cfg(unix)]
fn create_private(path: &Path) -> io::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

#[cfg(not(unix))]
fn create_private(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().write(true).create_new(true).open(path)
}
