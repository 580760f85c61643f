"""TLS to a receiver, 1.2 at least: its certificate is always checked; and what went wrong, in words."""

from __future__ import annotations

import ssl

from monitor.settings.sink_sections import SinkConfig


def tls_context(config: SinkConfig) -> ssl.SSLContext:
    """How to speak TLS; raises `OSError` that names the file where one cannot be used."""
    try:
        context = ssl.create_default_context(cafile=config.cafile)
    except OSError as error:
        raise OSError(f"cafile {config.cafile} cannot be used: {error.strerror or error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = config.check_hostname
    if config.certfile is not None:
        try:
            # without a password an encrypted key must fail, not ask on a terminal
            context.load_cert_chain(config.certfile, config.keyfile, _key_password(config) or "")
        except (OSError, UnicodeDecodeError) as error:
            raise OSError(
                f"certfile {config.certfile} with keyfile {config.keyfile} cannot be used: {error}"
            ) from error
    return context


def in_words(error: Exception, seconds: float, where: str = "address") -> str:
    """Why there was no connection, or no answer in so many ``seconds``; ``where`` is the key that names the host."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message} (see cafile, and the host in {where})"
    if isinstance(error, ssl.SSLEOFError):
        return "the receiver broke TLS off: it may want a certificate of ours (certfile), or speak no TLS at all"
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:g} s"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _key_password(config: SinkConfig) -> str | None:
    return config.key_password_file.read_text(encoding="utf-8").strip() if config.key_password_file else None
