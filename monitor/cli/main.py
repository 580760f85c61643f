"""The command `tocsin`: finds the command that is asked for, and turns what goes wrong into exit codes.

Commands are loaded only when they are asked for: `tocsin --help` stays fast, and the watcher never imports torch.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, NoReturn

import typer

from monitor.guard import DISTRIBUTION, refuse_foreign_owners
from monitor.settings.problems import ConfigError

FAILURE: Final = 1
BAD_CONFIGURATION: Final = 78
INTERRUPTED: Final = 130
DEBUG: Final = "TOCSIN_DEBUG"
BLAS_THREADS: Final = "OPENBLAS_NUM_THREADS"


class Command(NamedTuple):
    """Where a command lies (``module:name``, a function or a `typer.Typer` of subcommands) and what it does.

    A function has its example in its docstring; subcommands share the ``example`` given here.
    """

    target: str
    help: str
    example: str = ""


COMMANDS: Final[Mapping[str, Command]] = {
    "demo": Command("monitor.cli.demo:demo", "Shows drift, poison, verdict and rollback."),
    "train": Command("monitor.cli.train:train", "Trains a model and adds it to a registry, signed."),
    "retrain": Command("monitor.cli.retrain:retrain_command", "Retrains on sanitised data; the gate judges it."),
    "gate": Command("monitor.cli.gate:gate", "Judges a candidate before it serves."),
    "registry": Command(
        "monitor.cli.registry:app",
        "Adds, lists, verifies, promotes and rolls back model versions.",
        "tocsin registry list --registry registry --name nids",
    ),
    "store": Command(
        "monitor.cli.store:app",
        "Keeps labelled rows for training, and whom to trust.",
        "tocsin store add --store store --data rows.csv --label label",
    ),
    "review": Command(
        "monitor.cli.review:app",
        "Shows and decides what a retraining has held back.",
        "tocsin review list --registry registry --name nids",
    ),
    "keys": Command(
        "monitor.cli.keys:app",
        "Makes, lists, trusts and revokes signing keys.",
        "tocsin keys list --config tocsin.yaml",
    ),
    "reference": Command(
        "monitor.cli.reference:app",
        "Captures a stretch of the stream as a reference.",
        "tocsin reference capture --name nids --from 2025-03-01T00:00:00Z --to 2025-03-08T00:00:00Z "
        "--config tocsin.yaml --out reference.parquet",
    ),
    "score": Command("monitor.cli.score:score", "Scores a table with a model version."),
    "certify": Command("monitor.cli.certify:certify", "Says how far rows can be changed before predictions do."),
    "replay": Command("monitor.cli.replay:replay", "Runs the loop over files, the same way every time."),
    "run": Command("monitor.cli.run:run", "Watches: the daemon."),
    "hunt": Command("monitor.cli.hunt:hunt", "What did we miss? Finds what a poisoned version let pass."),
    "serve": Command("monitor.cli.serve:serve", "Serves a model over HTTP, for demonstrations and tests."),
    "validate": Command("monitor.cli.validate:validate", "Checks a configuration file."),
    "doctor": Command("monitor.cli.doctor:doctor", "Checks the surroundings, and says what they allow."),
    "vet": Command(
        "monitor.cli.vet:app", "Lists and answers the open requests for labels.", "tocsin vet list --config tocsin.yaml"
    ),
    "response": Command(
        "monitor.cli.response:app",
        "Lists, approves, declines and holds what is done about incidents.",
        "tocsin response list --config tocsin.yaml",
    ),
    "alerts": Command(
        "monitor.cli.alerts:app",
        "Tries sinks and routes, replays dead letters.",
        "tocsin alerts test --config tocsin.yaml",
    ),
    "status": Command("monitor.cli.status:status", "Shows how every watched model stands."),
    "incidents": Command(
        "monitor.cli.incidents:app",
        "Lists, shows, explains and closes incidents.",
        "tocsin incidents explain 4f2a --config tocsin.yaml",
    ),
    "report": Command("monitor.cli.report:report", "Writes all about an incident as one HTML page."),
    "audit": Command(
        "monitor.cli.audit:app", "Verifies, shows and exports the audit log.", "tocsin audit verify state"
    ),
}


def main(
    arguments: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
    commands: Mapping[str, Command] = COMMANDS,
) -> NoReturn:
    """Run the command line and exit: 0 success, 1 failure, 2 usage, 78 bad configuration, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    environ = os.environ if environ is None else environ
    # windows are small: threads of BLAS would mostly wait for each other, and sums would depend on the number of cores
    os.environ.setdefault(BLAS_THREADS, "1")
    try:
        _run(arguments, commands)
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED, environ)
    except ConfigError as error:
        _fail(str(error), BAD_CONFIGURATION, environ)
    except Exception as error:  # noqa: BLE001 - the end of the line: said on stderr and by the exit code
        _fail(_in_words(error), FAILURE, environ)
    sys.exit(0)


def application(arguments: Sequence[str], commands: Mapping[str, Command]) -> typer.Typer:
    """The commands: the one that ``arguments`` ask for as it is, every other one by name and description only."""
    wanted = next((argument for argument in arguments if not argument.startswith("-")), None)
    # plain text: loading the library that draws boxes would take longer than the rest
    app = typer.Typer(
        name="tocsin",
        help="Watches the classifiers of a security operations centre, tells drift from poisoning, and rolls back."
        "\n\nExample: tocsin demo",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_options)
    for name, command in commands.items():
        item = load(command) if name == wanted else _named_only
        if isinstance(item, typer.Typer):
            item.rich_markup_mode = None
            app.add_typer(item, name=name, help=f"{command.help}\n\nExample: {command.example}")
        else:
            app.command(name, help=None if name == wanted else command.help)(item)
    return app


def load(command: Command) -> Callable[..., Any] | typer.Typer:
    """Import a command."""
    module, _, name = command.target.partition(":")
    item: Callable[..., Any] | typer.Typer = getattr(importlib.import_module(module), name)
    return item


def _run(arguments: Sequence[str], commands: Mapping[str, Command]) -> None:
    if any(argument in commands for argument in arguments):
        refuse_foreign_owners(importlib.metadata.packages_distributions())
    typer.main.get_command(application(arguments, commands)).main(args=list(arguments), prog_name="tocsin")


def version() -> str:
    """The installed version; a clone that is not installed has none."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def _named_only() -> None:
    """Stands for a command that was not asked for."""


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        typer.echo(f"{DISTRIBUTION} {version()}")
        raise typer.Exit


def _options(
    *,
    _show_version: bool = typer.Option(False, "--version", help="Print the version.", callback=_version, is_eager=True),  # noqa: FBT003 - typer's way
) -> None:
    pass


def _in_words(error: Exception) -> str:
    """An error that we raise says everything; of any other, the type is part of what went wrong."""
    text = str(error) or "no details"
    ours = type(error).__module__.partition(".")[0] in {"monitor", "detectors", "rollback"}
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    if ours or isinstance(error, OSError):
        return text
    return f"{type(error).__name__}: {text} (set {DEBUG}=1 for the traceback)"


def _fail(message: str, code: int, environ: Mapping[str, str]) -> NoReturn:
    if environ.get(DEBUG):
        traceback.print_exc()
    print(f"tocsin: {message}", file=sys.stderr)  # noqa: T201 - the last word of a command, before any log is set up
    sys.exit(code)
