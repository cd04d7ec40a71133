"""`pillsnap status`: the content of the page in a terminal, once or as it changes."""

import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pillsnap.files import Json
from pillsnap.monitor.events import Event
from pillsnap.monitor.folder import RunFolder, origins
from pillsnap.monitor.state import StageState, State, seconds_left, share_done
from pillsnap.monitor.view import status_of
from pillsnap.places import STAGES, TRAININGS

NUM_LOG_LINES = 8
STYLES = {"running": "cyan", "done": "green", "failed": "bold red", "stalled": "yellow"}
LEVEL_STYLES = {"ERROR": "red", "WARNING": "yellow", "DEBUG": "dim"}
METRICS = ("map50", "map50_95", "top1", "top5", "loss/train", "loss/val", "loss", "lr")


def show(artifacts_dir: Path, watch: bool, interval_s: float = 1.0) -> None:
    """Print the status once, or keep it on the screen until Ctrl-C."""
    folder = RunFolder(artifacts_dir)
    if not watch:
        Console().print(status(folder, time.time()))
        return
    with Live(refresh_per_second=4, screen=False) as live:
        while True:
            live.update(status(folder, time.time()))
            time.sleep(interval_s)


def status(folder: RunFolder, now_s: float) -> RenderableType:
    """Stages, metrics, hardware, data checks, failures and the last log lines, as of now."""
    while folder.read():
        pass
    folder.refresh()
    state, validation = folder.state, folder.contents["validation"]
    if not state.num_events:
        return Text("nothing has run yet; start with: pillsnap train")
    parts: list[RenderableType] = [_stages(state, now_s)]
    parts += [
        _metrics(name, state.stages[name]) for name in TRAININGS if state.stages[name].metrics
    ]
    parts.append(_hardware(state))
    if validation is not None:
        parts.append(_validation(validation, origins(folder)["validation"]["current"]))
    parts += [_failure(stage.failure) for stage in state.stages.values() if stage.failure]
    parts += [_log_line(line) for line in state.logs[-NUM_LOG_LINES:]]
    return Group(*parts)


def duration(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds: 2 h 05 min, 3 min 20 s, 12 s."""
    whole = round(max(seconds, 0.0))
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def _stages(state: State, now_s: float) -> Table:
    table = Table.grid(padding=(0, 1))
    for width in (max(map(len, STAGES)), 7, 4):
        table.add_column(no_wrap=True, min_width=width)
    for name, stage in state.stages.items():
        status = status_of(stage, now_s)
        done = 1.0 if status == "done" else share_done(stage)
        share = "" if done is None else f"{done:4.0%}"
        shown = Text(status, style=STYLES.get(status, "dim"))
        table.add_row(name, shown, share, ", ".join(_place(name, stage, now_s)))
    return table


def _place(name: str, stage: StageState, now_s: float) -> Iterator[str]:
    if name in TRAININGS and stage.epoch is not None:
        under_way = stage.epoch > stage.epochs_done and stage.step is not None and stage.total
        step = f" step {stage.step}/{stage.total}" if under_way else ""
        yield f"{stage.epoch}/{stage.epochs or '?'}{step}"
    rate, left_s = stage.metrics.get("images_per_s"), seconds_left(stage)
    if status_of(stage, now_s) != "running":
        return
    if rate is not None:
        yield f"{rate:,.0f} img/s" if rate >= 1 or not rate else f"{1 / rate:,.1f} s/img"
    if left_s is not None and stage.updated_s is not None:
        yield f"{duration(left_s - (now_s - stage.updated_s))} left"


def _metrics(name: str, stage: StageState) -> Text:
    goals = {key: f" (goal {value:g})" for key, value in stage.goals.items() if value is not None}
    known = [(key, stage.metrics.get(key)) for key in METRICS]
    shown = [f"{key} {value:.4g}{goals.get(key, '')}" for key, value in known if value is not None]
    return Text(f"{name}: {', '.join(shown)}")


def _hardware(state: State) -> Text:
    now = state.hardware
    if not now:
        return Text("hardware: no sample yet", style="dim")

    def number(name: str, unit: str, scale: float = 1.0) -> str:
        value = now.get(name)
        return f"{value / scale:.0f}{unit}" if isinstance(value, float) else f"?{unit}"

    gpu = "GPU none"
    if "gpu_name" in now:
        memory = f"{number('gpu_memory_used_mb', '')}/{number('gpu_memory_total_mb', ' MB')}"
        heat = f"{number('gpu_temperature_c', ' °C')}  {number('gpu_power_w', ' W')}"
        gpu = f"{now['gpu_name']}  {number('gpu_util_pct', '%')}  {memory}  {heat}"
    ram = f"RAM {number('ram_used_mb', '', 1024)}/{number('ram_total_mb', ' GB', 1024)}"
    disk = f"disk {number('disk_free_gb', ' GB')} free"
    return Text(f"CPU {number('cpu_pct', '%')}  {ram}  {disk}  {gpu}")


def _validation(validation: Json, current: bool) -> Text:
    checks = validation.get("checks")
    checks = [c for c in checks if isinstance(c, dict)] if isinstance(checks, list) else []
    counts = {s: sum(c.get("status") == s for c in checks) for s in ("pass", "warn", "fail")}
    shown = ", ".join(f"{count} {status}" for status, count in counts.items())
    names = [str(c.get("name")) for c in checks if c.get("status") in ("warn", "fail")]
    title = "data checks" if current else "data checks (from an earlier run)"
    return Text(f"{title}: {shown}" + (f" ({', '.join(names)})" if names else ""))


def _failure(failure: Event) -> Panel:
    lines = [escape(failure.message), escape(failure.cause)]
    lines += [f"  • {escape(cure)}" for cure in failure.cures]
    return Panel(
        "\n".join(line for line in lines if line), title=f"{failure.stage} failed", style="red"
    )


def _log_line(line: Event) -> Text:
    clock = time.strftime("%H:%M:%S", time.localtime(line.time_s))
    text = f"{clock} {line.level:<7} {line.stage}: {line.message}"
    return Text(text, style=LEVEL_STYLES.get(line.level, ""))
