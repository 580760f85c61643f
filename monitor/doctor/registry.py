"""The registry: what it holds is what was signed, its pointers stand, and somebody has vouched for LKG."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from monitor.audit_keys import unusable
from monitor.doctor.check import Result, ok, problem, warning
from monitor.jobs.registry_verification import check_registry
from monitor.key_use import lapse, lapses
from monitor.settings.config import Config
from monitor.training_buffer import training_buffer
from rollback.bundle import IntegrityError
from rollback.registry.file import FileRegistry, Trust
from rollback.registry.registry import Registry, RegistryError
from rollback.signing.keys import TRIAL_FOLDER, KeyFileError, Keys
from rollback.signing.trust_list import keys_from_files, refused_now

KEYS = "keys"


def open_keys(config: Config) -> Keys:
    """The keys that the configuration names, else the registry's trial keys. Raises `KeyFileError`."""
    signing = config.signing
    if signing.trusted_keys or signing.key_file:
        return keys_from_files(signing.trusted_keys, signing.key_file)
    return Keys.trial(config.registry)


def open_registry(config: Config, name: str) -> FileRegistry:
    """A model's registry, as the daemon opens it. Raises `KeyFileError`."""
    trust = Trust(unsigned=frozenset(config.model(name).allow_unsigned))
    return FileRegistry(config.registry, name, open_keys(config), time.time, trust, config.bundles.limits())


def check_models(config: Config) -> Iterator[Result]:
    """Keys, versions and buffers of every model; a model that cannot be read does not hide the next."""
    try:
        yield from check_keys(config)
    except KeyFileError as error:
        yield problem(KEYS, str(error), "correct signing.trusted_keys and signing.key_file, or the files")
        return
    for name in config.models:
        for subject, check in (("registry", check_versions), ("buffer", check_buffer)):
            try:
                yield from check(config, name)
            except (RegistryError, IntegrityError) as error:
                yield problem(f"{subject} {name}", str(error), "mend what it names first")


def check_keys(config: Config) -> Iterator[Result]:
    """Whose signatures are believed."""
    keys, now = open_keys(config), datetime.now(UTC)
    known = ", ".join(key.key_id for key in keys.trusted.values() if not lapse(key, now)) or "none"
    if why := refused_now(keys, now):
        yield problem(KEYS, unusable(config, why), "until then tocsin run does not start")
        return
    for note in lapses(keys, now):
        yield warning(KEYS, note, "tocsin keys list --config FILE shows all; docs/rollback.md says how to change keys")
    if not (config.signing.trusted_keys or config.signing.key_file):
        yield warning(
            KEYS,
            f"the registry's own trial keys are used ({known}): whoever can write there can replace them",
            "set signing.trusted_keys to public keys that lie elsewhere, and signing.key_file",
        )
    elif config.signing.key_file is None:
        yield warning(
            KEYS,
            f"trusted: {known}; there is no key to sign a retrained candidate with, and the audit log's checkpoints "
            f"are signed with a trial key in {config.state_dir / TRIAL_FOLDER}",
            "set signing.key_file: it signs the audit log, too",
        )
    else:
        yield ok(KEYS, f"trusted: {known}; candidates and the audit log are signed by {own_key(keys)}")


def check_versions(config: Config, name: str) -> Iterator[Result]:
    """Every version of a model, and both pointers."""
    subject = f"registry {name}"
    registry = open_registry(config, name)
    where = f"--registry {config.registry} --name {name}"
    if not registry.versions():
        add = f"tocsin registry add {where} --reference FILE --label COLUMN, or tocsin train"
        yield problem(subject, f"{config.registry} holds no version of {name}", add)
        return
    found = check_registry(name, registry, time.time())
    for version, reason in found.failed.items():
        role = ", the last known good one" if version == found.last_known_good else ""
        yield problem(subject, f"version {version}{role}: {reason}", _advice(config, version, reason, where))
    for each in found.pointers:
        yield problem(subject, each, f"tocsin registry promote {where} --version VERSION, one that you trust")
    if not found.failed and not found.pointers:
        yield from _pointers(subject, registry, where)


def own_key(keys: Keys) -> str:
    """The id of the key that signs."""
    return "none" if keys.signing is None else f"key {keys.signing.public.key_id}"


def _advice(config: Config, version: str, reason: str, where: str) -> str:
    """What to do about a version that is not believed: nobody has changed it where only its key was revoked."""
    if any(key.revoked and key.refused(None) in reason for key in open_keys(config).trusted.values()):
        return (
            "its key was revoked, the version may be unchanged: take it out with the old public key (tocsin registry "
            f"export {where} --version {version} --trusted-key OLD.pub.pem --out DIR), and add it as a new version "
            "signed by another (tocsin registry add --signing-key); see docs/rollback.md, Keys"
        )
    return "find out who changed it, or which key is missing in signing.trusted_keys; add it again as a new version"


def check_buffer(config: Config, name: str) -> Iterator[Result]:
    """Whether the serving version could be retrained."""
    subject = f"buffer {name}"
    registry = open_registry(config, name)
    serving = registry.pointers().serving
    if serving is None:
        return
    model = config.model(name)
    try:
        buffer = training_buffer(model, registry)(serving)
    except (IntegrityError, RegistryError) as error:
        yield problem(subject, str(error), "put the buffer back as it was, or add the version again with its buffer")
        return
    if buffer is not None:
        yield ok(subject, f"version {serving} was trained on {buffer.path}")
    else:
        named = f"; models.{name}.buffer names {model.buffer_of(serving)}, which is not there" if model.buffer else ""
        yield warning(
            subject,
            f"the training buffer of version {serving} is not known{named}: it could not be retrained",
            f"set models.{name}.buffer, or give it with tocsin registry add --buffer",
        )


def _pointers(subject: str, registry: Registry, where: str) -> Iterator[Result]:
    now, count = registry.pointers(), len(registry.versions())
    said = f"{count} versions verified; {now.serving} serves, {now.last_known_good} is last known good"
    if now.assumed:
        yield warning(
            subject,
            f"{said}, which nobody has vouched for",
            f"tocsin registry promote {where} --version {now.last_known_good} --known-good, once you have tested it; "
            f"until then, tocsin registry shadow {where} gives something to compare it with",
        )
    else:
        yield ok(subject, said)
