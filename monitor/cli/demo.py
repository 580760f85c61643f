"""`tocsin demo`: the whole story in one process, in a few minutes."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from monitor.cli.output import show
from monitor.demo.cure import Say
from monitor.demo.media import Broker, Embedded
from monitor.demo.stage import Stage
from monitor.demo.story import Story, StoryConfig
from monitor.demo.supply import GeneratedTraffic, OwnData
from monitor.logging import set_up_logging
from monitor.settings.config import load_config
from rollback.registry.file import FileRegistry
from rollback.signing.keys import Keys

LAST_SCRAPES: Final = 6.0
"""Seconds for which the metrics stay at the end: Prometheus is to see the last figures, too."""


def demo(
    data: Annotated[Path | None, typer.Option("--data", help="Your own samples instead of generated traffic.")] = None,
    label: Annotated[str | None, typer.Option("--label", help="The column of true classes in --data.")] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="The class that the attacker wants; the most common one unless said.")
    ] = None,
    kafka: Annotated[
        str | None, typer.Option("--kafka", help="HOST:PORT of a broker to run the story through.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="A new folder for all that comes of it.")] = Path("demo-out"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed tells another story.")] = 7,
    listen: Annotated[
        str | None, typer.Option("--listen", help="HOST:PORT to show metrics on meanwhile, for Prometheus.")
    ] = None,
    *,
    approved: Annotated[
        bool, typer.Option("--approve", help="Approve the retrained version; else you are asked, or `tocsin response`.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON at the end.")] = False,
) -> None:
    """Serve, drift, poison, verdict, rollback, retraining: on generated traffic, or on a table of yours.

    Example: tocsin demo --out demo-out
    """
    if (data is None) != (label is None):
        raise typer.BadParameter("--data and --label belong together")
    if out.exists() and any(out.iterdir()):
        raise typer.BadParameter(f"{out} is not empty; name a new folder, or remove it", param_hint="--out")
    set_up_logging(sys.stderr, as_json=False, level=40)
    supply = GeneratedTraffic(seed) if data is None or label is None else OwnData(data, label, seed)
    started = time.monotonic()
    say: Say = lambda line: typer.echo(line, err=as_json)  # noqa: E731 - one line, used twice
    with Stage(out, Embedded() if kafka is None else Broker(kafka), listen) as stage:
        story = Story(stage, supply, target, StoryConfig(seed=seed), lambda _: approved or _ask(say), say)
        figures = story.tell()
        seconds = time.monotonic() - started
        if listen is not None:
            time.sleep(LAST_SCRAPES)
    report = _report(out)
    typer.echo(f"\nTold in {seconds:.0f} s. Look around in {out}:", err=as_json)
    typer.echo("  state/incidents.ndjson  state/windows.ndjson  state/vetting.ndjson  state/audit.ndjson", err=as_json)
    typer.echo(f"  tocsin response list --all --config {out}/tocsin.yaml", err=as_json)
    typer.echo(f"  tocsin registry list --registry {out}/registry --name nids", err=as_json)
    typer.echo(f"  tocsin audit verify {out}/state", err=as_json)
    if report is not None:
        typer.echo(f"The report on the incident, as a page: {report}", err=as_json)
    if as_json:
        show(figures, as_json=True)


def _report(out: Path) -> Path | None:
    """The report on the gravest incident of the story, None where there was none."""
    from monitor.report.make import gravest, write_report  # noqa: PLC0415 - it takes a second that the story need not wait for

    settings = load_config(out / "tocsin.yaml", {})
    uid = gravest(settings.state_dir)
    if uid is None:
        return None
    return write_report(
        settings.state_dir,
        uid,
        out / "report.html",
        registry=lambda model: FileRegistry(settings.registry, model, Keys.trial(settings.registry), time.time),
        config=str(out / "tocsin.yaml"),
    )


def _ask(say: Say) -> bool:
    """Ask on a terminal; elsewhere, and after a no, `tocsin response` decides."""
    if sys.stdin.isatty() and typer.confirm("   Approve it now?", default=True):
        return True
    say("   Waiting for that command (or for tocsin response decline) in another terminal ...")
    return False
