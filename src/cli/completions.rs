//! `rollcall completions` and `rollcall man`: shell completion scripts and manual pages, generated
//! from the definition of the command line.

use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use super::exit::{CommandError, REJECTED, SOFTWARE, USAGE};
use super::output::{CommandOutput, OutputArgs, print_note};

/// Name of the program.
const NAME: &str = "rollcall";

/// Arguments of `completions`.
#[derive(Args, Debug)]
#[command(after_long_help = super::help::local(&[
    "rollcall completions bash > ~/.local/share/bash-completion/completions/rollcall",
    "rollcall completions zsh > ~/.zfunc/_rollcall",
    "rollcall completions fish > ~/.config/fish/completions/rollcall.fish",
]))]
pub(super) struct CompletionsArgs {
    /// Shell to print the script for
    #[arg(value_enum)]
    shell: Shell,
}

/// Arguments of `man`.
#[derive(Args, Debug)]
#[command(after_long_help = super::help::local(&[
    "rollcall man | man -l -",
    "rollcall man download | man -l -",
    "rollcall man --out ~/.local/share/man/man1",
]))]
pub(super) struct ManArgs {
    /// Command whose page to print; without it, the page of the program
    #[arg(value_name = "COMMAND", conflicts_with = "out")]
    command: Option<String>,

    /// Write the pages of all commands into this directory
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Output as text: scripts and pages have no JSON form.
const TEXT_OUTPUT: OutputArgs = OutputArgs { json: false };

pub(super) fn completions(args: &CompletionsArgs, mut cli: Command) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli, NAME, &mut script);
    CommandOutput::new(TEXT_OUTPUT).text(&String::from_utf8_lossy(&script))
}

pub(super) fn man(args: &ManArgs, mut cli: Command) -> Result<(), CommandError> {
    // Sets the full command name in the usage line of each page.
    cli.build();
    match (&args.out, &args.command) {
        (Some(dir), _) => write_all(dir, &cli),
        (None, Some(name)) => match cli.find_subcommand(name).filter(|command| !command.is_hide_set()) {
            Some(command) => CommandOutput::new(TEXT_OUTPUT).text(&page(command)?),
            None => Err(CommandError::new(USAGE, format!("there is no command {name:?}; rollcall --help lists them"))),
        },
        (None, None) => CommandOutput::new(TEXT_OUTPUT).text(&page(&cli)?),
    }
}

/// Writes the pages of the program and of all visible commands.
fn write_all(dir: &Path, cli: &Command) -> Result<(), CommandError> {
    let write_error =
        |error: std::io::Error| CommandError::new(REJECTED, format!("cannot write to {}: {error}", dir.display()));
    std::fs::create_dir_all(dir).map_err(write_error)?;
    let commands = cli.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help");
    let mut pages = 0;
    for command in std::iter::once(cli).chain(commands) {
        std::fs::write(dir.join(format!("{}.1", page_name(command))), page(command)?).map_err(write_error)?;
        pages += 1;
    }
    print_note(&format!("{pages} pages in {}", dir.display()));
    Ok(())
}

/// Renders the manual page of a command.
fn page(command: &Command) -> Result<String, CommandError> {
    let mut page = Vec::new();
    let written = Man::new(command.clone()).render(&mut page);
    written.map_err(|error| CommandError::new(SOFTWARE, format!("cannot write the page: {error}")))?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// File name of a page without its section, such as `rollcall-status` (compare `git-log`).
fn page_name(command: &Command) -> String {
    if command.get_name() == NAME { NAME.to_owned() } else { format!("{NAME}-{}", command.get_name()) }
}
