"""What `tocsin retrain --reproduce` says."""

from __future__ import annotations

from dataclasses import asdict

import typer

from monitor.cli.output import Progress, show
from rollback.registry.registry import Registry
from rollback.retraining.reproduce import reproduce
from rollback.train.recipe import Device


def reproduce_command(keeper: Registry, version: str, device: Device | None, *, as_json: bool) -> bool:
    """Make a version again; whether it is the same, which is printed with what may make a difference."""
    steps = 0
    with Progress(f"making version {version} again") as progress:

        def told(what: str, share: float) -> None:
            nonlocal steps
            steps += 1
            progress.update(steps, f"{what} {share:.0%}")

        found = reproduce(keeper, version, device, told)
    for difference in found.differs:
        typer.echo(f"{'note' if found.same else 'differs'}: {difference}", err=True)
    if found.same:
        text = f"version {version}: the same model.onnx, byte by byte ({found.found})"
    else:
        text = f"version {version}: another model.onnx: it was {found.expected}, made again it is {found.found}"
    show({**asdict(found), "same": found.same}, as_json=as_json, text=text)
    return found.same
