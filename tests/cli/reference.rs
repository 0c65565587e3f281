//! `docs/reference/cli.md` is what the program prints for `--help`.

use std::process::Command;

use crate::support::pages;

const HEAD: &str = "\
# Command-line reference

This page is made from the program: it is the output of `--help` for each command. The test
`the_command_line_reference_is_what_the_program_prints` compares them, and writes the page again with `UPDATE_DOCS=1`.
[The command line](../how-to/command-line.md) says what the commands have in common.
";

#[test]
fn the_command_line_reference_is_what_the_program_prints() {
    let mut page = HEAD.to_owned();
    describe(&[], &mut page);
    assert!(page.matches("\n## ").count() > 40, "a command is missing: {page}");
    pages::is_current("cli.md", &page);
}

/// Adds the help of a command, and of those below it.
fn describe(command: &[&str], page: &mut String) {
    let help = help(command);
    let name = [&["postern"][..], command].concat().join(" ");
    *page += &format!("\n## {name}\n\n```text\n{}\n```\n", help.trim_end());
    for name in subcommands(&help) {
        describe(&[command, &[name]].concat(), page);
    }
}

fn help(command: &[&str]) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_postern"));
    program.args(command).arg("--help").env("NO_COLOR", "1");
    // The help shows the value of a variable that is set, and is as wide as the terminal.
    for variable in ["POSTERN_CONFIG", "COLUMNS"] {
        program.env_remove(variable);
    }
    let output = program.output().unwrap();
    assert!(output.status.success(), "{command:?}");
    let help = String::from_utf8(output.stdout).unwrap();
    help.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The commands that a help lists.
fn subcommands(help: &str) -> Vec<&str> {
    let Some((_, list)) = help.split_once("\nCommands:\n") else { return Vec::new() };
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  "));
    let names = names.filter(|line| !line.starts_with(' '));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect()
}
