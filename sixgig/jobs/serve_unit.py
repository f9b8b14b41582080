"""A unit file for systemd: the same server, for good, with no more rights than it needs."""

from __future__ import annotations

import os
import pwd
import re
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from sixgig.jobs.serve_request import Plan, ServeRequest
from sixgig.modelfile.listing import is_reference
from sixgig.server.http import DRAIN_S

MIB = 1 << 20
_ENDING_S = 15  # after the last request: engines end, the ledger is closed
_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]+")


def unit_for(request: ServeRequest) -> str:
    """A systemd unit that serves the same, for good; refused as serve() would be."""
    ram_bytes = Plan.of(request).settings.server.ram_bytes
    return systemd_unit(_arguments(request), ram_bytes, DRAIN_S)


def _arguments(request: ServeRequest) -> list[str]:
    """The request as the command line has it, from any folder."""
    config = [] if request.config is None else ["--config", str(Path(request.config).absolute())]
    named = [name if is_reference(name) else str(Path(name).absolute()) for name in request.named]
    options = (
        (f"--{name.replace('_', '-')}", _typed(name, value)) for name, value in request.options.items()
    )
    return [*named, *config, *(word for option in options for word in option)]


def _typed(option: str, value: str | int | float) -> str:
    """As one would type it: 8G for 8589934592 bytes, 600s for 600.0 seconds."""
    if option in ("ram", "vram"):
        size, units = int(value), list("KMGT")
        unit = ""
        while units and size and not size % 1024:
            size, unit = size // 1024, units.pop(0)
        return f"{size}{unit}"
    if option == "keep_alive":
        return "forever" if float(value) < 0 else f"{Decimal(str(round(float(value), 9))).normalize():f}s"
    return str(value)


def systemd_unit(
    arguments: Sequence[str],
    ram_bytes: int | None,
    stop_s: int,
    *,
    program: Sequence[str] = (sys.executable, "-P", "-m", "sixgig"),
    user: str | None = None,
) -> str:
    """The whole file, which says itself where to put it; for systemd 245 or later.

    arguments: what follows `sixgig serve`, paths absolute. ram_bytes: as --ram. stop_s: how long requests may
    go on once it is told to stop. program: begins with an absolute path, in which systemd suffers no quotes.
    user: who runs it, default the caller; root gives way to one that systemd makes up.
    """
    command = " ".join(_quoted(word) for word in (*program, "serve", *arguments))
    return _UNIT.format(
        command=command,
        memory=_memory(ram_bytes),
        stop_s=stop_s + _ENDING_S,
        user=_user(user or _caller()),
    )


def _quoted(word: str) -> str:
    """One word of ExecStart, which has C's escapes and specifiers that begin with a percent sign."""
    if _PLAIN.fullmatch(word):
        return word
    return '"' + "".join(_escaped(character) for character in word).replace("%", "%%") + '"'


def _escaped(character: str) -> str:
    """Bytes that are no text, as os.fsdecode keeps them, and all that could end a line, as numbers."""
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))


def _memory(ram_bytes: int | None) -> str:
    """A sixteenth more than the budget: pages of files count here, too, and the kernel's own."""
    if ram_bytes is None:
        return "# Give --ram, and a MemoryMax above it appears here."
    return f"MemoryMax={-(-(ram_bytes + ram_bytes // 16) // MIB) + 64}M"


def _caller() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _user(name: str) -> str:
    if name != "root":
        return f"User={name}"
    return "# Others must be able to read the program, the models and the configuration.\nDynamicUser=yes"


_UNIT = """\
# sixgig.service: sixgig serve, for good.
#
# For the whole machine, as root:
#   cp sixgig.service /etc/systemd/system/
#   systemctl daemon-reload
#   systemctl enable --now sixgig
#   journalctl -u sixgig -f                                what it tells
#   sixgig ledger --file /var/lib/sixgig/ledger.sqlite     what it served
#
# For yourself, without root (the kernel may refuse some of the protection, which systemd then leaves out):
#   mkdir -p ~/.config/systemd/user
#   sed '/^# Root only/,/^# End/d; s/multi-user/default/' sixgig.service \\
#       > ~/.config/systemd/user/sixgig.service
#   systemctl --user daemon-reload
#   systemctl --user enable --now sixgig
#   loginctl enable-linger                                 it stays when you log out
# The ledger is then in ~/.local/state/sixgig, before systemd 254 in ~/.config/sixgig.

[Unit]
Description=sixgig: models served within a memory budget
After=network-online.target nvidia-persistenced.service
Wants=network-online.target
StartLimitIntervalSec=10min
StartLimitBurst=5

[Service]
Type=exec
ExecStart=:{command}

# Keys of upstreams, a line each: NAME=secret. Only root should be able to read the file.
EnvironmentFile=-/etc/sixgig/environment

# It starts again where it fails, unless it does so five times in ten minutes: then something is set up wrong.
Restart=on-failure
RestartSec=10
RestartPreventExitStatus=2

# Only the gateway is told to stop. Its engines go on until the last request is answered.
KillMode=mixed
TimeoutStopSec={stop_s}

# The kernel may end one engine for want of memory; the gateway starts it again.
OOMPolicy=continue
{memory}
LimitNOFILE=65536
# What a core dump holds are prompts.
LimitCORE=0

# Beside other work; the disk stays at normal priority, for experts that are read while someone waits.
Nice=5
IOSchedulingClass=best-effort

# What it writes: the ledger and past runs; headers, measurements and downloaded models.
# A [ledger] path elsewhere needs a line more: ReadWritePaths=FOLDER
StateDirectory=sixgig
StateDirectoryMode=0700
CacheDirectory=sixgig
CacheDirectoryMode=0700
Environment=XDG_DATA_HOME=%S XDG_CACHE_HOME=%C HF_HOME=%C/sixgig/huggingface
UMask=0077

NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
LockPersonality=yes
# Not MemoryDenyWriteExecute: drivers of GPUs compile at run time. Without a GPU you may set it to yes.

# Root only
{user}
CapabilityBoundingSet=
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectClock=yes
ProtectHostname=yes
# GPUs: NVIDIA's; AMD's and Intel's, which need SupplementaryGroups=render video, too.
# The driver must be loaded before: NoNewPrivileges keeps nvidia-modprobe from doing it.
DevicePolicy=closed
DeviceAllow=char-nvidia* rw
DeviceAllow=char-drm rw
DeviceAllow=char-kfd rw
# End

[Install]
WantedBy=multi-user.target
"""
