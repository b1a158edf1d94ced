//! A bank's writer in a process of its own: the test's own executable, started again.
//!
//! One command a line on its standard input, one answer a line on its standard output, so that a test awaits
//! what has happened rather than sleeps. It dies with its [`WriterProcess`].

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use super::{Bank, BankOptions};

const PATH_VARIABLE: &str = "ULTRASIMPLE_BANK_WRITER_PATH";
const OPTIONS_VARIABLE: &str = "ULTRASIMPLE_BANK_WRITER_OPTIONS";
/// Begins each answer: the test harness prints lines of its own.
const ANSWER: &str = "bank: ";

/// Declares, in a test binary, what [`WriterProcess::spawn`] starts. Put it at the root of the test file:
///
/// ```ignore
/// ultrasimple_testkit::bank_writer!();
/// ```
///
/// It is a test that is ignored, and that does nothing unless a `WriterProcess` starts it.
#[macro_export]
macro_rules! bank_writer {
    () => {
        #[test]
        #[ignore = "not a test: the writer that other tests start"]
        fn bank_writer() {
            $crate::bank::writer_main();
        }
    };
}

/// A writer in a process of its own, killed on drop.
#[derive(Debug)]
pub struct WriterProcess {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl WriterProcess {
    /// Starts a writer for the bank at `path`, and waits until it has it open.
    ///
    /// # Errors
    /// When the process can't be started, or can't open the bank. The test binary must have
    /// [`crate::bank_writer`] at its root.
    pub fn spawn(path: &Path, options: &BankOptions) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["bank_writer", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env(PATH_VARIABLE, path)
            .env(OPTIONS_VARIABLE, options.to_words())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (commands, answers) = pipes.ok_or_else(|| io::Error::other("no pipes"))?;
        let mut writer = Self { child, commands, answers: BufReader::new(answers) };
        writer.answer()?;
        Ok(writer)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Makes `count` commits. Returns the number of the last.
    ///
    /// # Errors
    /// What the writer says.
    pub fn commit(&mut self, count: u32) -> io::Result<i64> {
        self.number(&format!("commit {count}"))
    }

    /// Commits without end, as fast as it can, until [`Self::pause`].
    ///
    /// # Errors
    /// What the writer says.
    pub fn run(&mut self) -> io::Result<()> {
        self.call("run").map(|_| ())
    }

    /// Ends [`Self::run`]. Returns the number of the last commit.
    ///
    /// # Errors
    /// What the writer says.
    pub fn pause(&mut self) -> io::Result<i64> {
        self.number("pause")
    }

    /// Begins a transaction that touches most pages and holds it. With few `cache_pages`, some of it is
    /// in the main file already.
    ///
    /// # Errors
    /// What the writer says.
    pub fn begin_long(&mut self) -> io::Result<()> {
        self.call("begin").map(|_| ())
    }

    /// Commits what [`Self::begin_long`] began.
    ///
    /// # Errors
    /// What the writer says.
    pub fn end_long(&mut self) -> io::Result<i64> {
        self.number("end")
    }

    /// Opens, commits once and closes, over and over, until [`Self::pause`].
    ///
    /// # Errors
    /// What the writer says.
    pub fn churn(&mut self) -> io::Result<()> {
        self.call("churn").map(|_| ())
    }

    /// Runs SQL.
    ///
    /// # Errors
    /// What the writer says.
    pub fn sql(&mut self, sql: &str) -> io::Result<()> {
        self.call(&format!("sql {sql}")).map(|_| ())
    }

    /// Closes the bank as a well-behaved program does, and ends.
    ///
    /// # Errors
    /// What the writer says.
    pub fn close(mut self) -> io::Result<()> {
        self.call("close").map(|_| ())
    }

    /// Kills the process where it stands (SIGKILL), and waits until it is gone.
    ///
    /// # Errors
    /// When it can't be killed.
    pub fn crash(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(|_| ())
    }

    fn number(&mut self, command: &str) -> io::Result<i64> {
        self.call(command)?.parse().map_err(io::Error::other)
    }

    fn call(&mut self, command: &str) -> io::Result<String> {
        writeln!(self.commands, "{command}")?;
        self.commands.flush()?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<String> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.answers.read_line(&mut line)? == 0 {
                return Err(io::Error::other("the writer has ended; is `bank_writer!()` there?"));
            }
            // The harness writes `test bank_writer ... ` without a line's end before it.
            let Some((_, answer)) = line.trim_end().split_once(ANSWER) else {
                continue;
            };
            return match answer.strip_prefix("error ") {
                Some(error) => Err(io::Error::other(error.to_owned())),
                None => Ok(answer.to_owned()),
            };
        }
    }
}

impl Drop for WriterProcess {
    fn drop(&mut self) {
        // By its own id; gone already is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What [`crate::bank_writer`] runs. Does nothing unless a [`WriterProcess`] started the process.
///
/// # Panics
/// When its parent does not speak its language.
#[expect(
    clippy::expect_used,
    reason = "in a test's child process: its parent reports that it ended"
)]
pub fn writer_main() {
    let Some(path) = std::env::var_os(PATH_VARIABLE).map(PathBuf::from) else {
        return;
    };
    let options = std::env::var(OPTIONS_VARIABLE).expect("options");
    let options = BankOptions::from_words(&options).expect("known options");
    let (sender, commands) = channel();
    // Reads on while the bank commits, so that a command ends `run`; the end of the input ends all.
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let mut bank = match Bank::open(&path, &options) {
        Ok(bank) => bank,
        Err(error) => return say(&format!("error {error}")),
    };
    say("open");
    while let Ok(command) = commands.recv() {
        if command == "close" {
            drop(bank);
            return say("closed");
        }
        if command == "churn" {
            drop(bank);
            bank = match churn(&path, &options, &commands) {
                Ok(bank) => bank,
                Err(error) => return say(&format!("error {error}")),
            };
            continue;
        }
        let answer = obey(&mut bank, &command, &commands);
        say(&answer.unwrap_or_else(|error| format!("error {error}")));
    }
}

/// Says so, and then how many commits there are when the next command (`pause`) has come.
fn churn(
    path: &Path,
    options: &BankOptions,
    commands: &Receiver<String>,
) -> rusqlite::Result<Bank> {
    say("churning");
    while let Err(TryRecvError::Empty) = commands.try_recv() {
        Bank::open(path, options)?.commit()?;
    }
    let bank = Bank::open(path, options)?;
    say(&bank.commits().to_string());
    Ok(bank)
}

fn obey(bank: &mut Bank, command: &str, commands: &Receiver<String>) -> rusqlite::Result<String> {
    let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
    match verb {
        "commit" => {
            let count: u32 = rest.parse().unwrap_or(1);
            (0..count).try_for_each(|_| bank.commit().map(|_| ()))?;
        }
        "run" => {
            say("running");
            while let Err(TryRecvError::Empty) = commands.try_recv() {
                bank.commit()?;
            }
        }
        "begin" => bank.begin_long()?,
        "end" => return Ok(bank.end_long()?.to_string()),
        "sql" => bank.connection().execute_batch(rest)?,
        _ => {}
    }
    Ok(bank.commits().to_string())
}

/// Past the harness, which holds back what `println!` prints.
fn say(answer: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{ANSWER}{answer}");
    let _ = out.flush();
}
