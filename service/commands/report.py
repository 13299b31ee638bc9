"""report: what a store has, as text on standard output, to the Telegram chat, or into a file."""

import argparse
import os
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from service import delivery
from service.commands import Commands
from service.database.urls import service_url
from service.domains import reports
from service.settings import Settings, SettingsError


def add(commands: Commands) -> None:
    """Tell the command line of it."""
    parser = commands.add_parser(
        "report",
        help="print what a store has, send it, or save it as a workbook",
        description="Without an option the report is printed as text.",
    )
    parser.add_argument("--store", help="default: HOLDFAST_STORE")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--send", action="store_true", help="to HOLDFAST_TELEGRAM_CHAT_ID, now")
    way.add_argument("--output", type=Path, metavar="FILE.xlsx", help="save a workbook")
    parser.set_defaults(run=run)


async def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print, send or save."""
    store_id = arguments.store or settings.store
    async with service_url(settings) as dsn:
        if arguments.send:
            return await send_report(settings, dsn, store_id)
        _say("Reading …")
        opened = reports.reading(dsn, "holdfast_worker", store_id, settings.time_zone)
        async with opened as report:
            with tqdm(total=report.size, unit=" items", disable=_is_quiet(arguments)) as progress:
                shown = report._replace(batches=_counted(report.batches, progress))
                if arguments.output:
                    await save(shown, arguments.output)
                    return 0
                return await show(shown)


async def save(report: reports.Report, output: Path) -> None:
    """Write a workbook."""
    with output.open("wb") as file:
        async for chunk in report.workbook():
            file.write(chunk)


async def show(report: reports.Report) -> int:
    """Print a report. Who has read enough, as `head` does, makes no error of it."""
    try:
        async for line in reports.lines(report):
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _is_quiet(arguments: argparse.Namespace) -> bool | None:
    """Whether there is no progress to show: beside the lines; and, None, where nobody looks."""
    return True if not arguments.output and sys.stdout.isatty() else None


async def _counted(
    batches: AsyncIterator[Sequence[reports.Item]], progress: "tqdm[Any]"
) -> AsyncIterator[Sequence[reports.Item]]:
    async for batch in batches:
        yield batch
        progress.update(len(batch))


def _say(message: str) -> None:
    if sys.stderr.isatty():
        print(message, file=sys.stderr)


async def send_report(settings: Settings, dsn: str, store_id: str) -> int:
    """Send a store's report past the outbox, so that its sender sees what becomes of it."""
    if not settings.telegram_bot_token:
        raise SettingsError("HOLDFAST_TELEGRAM_BOT_TOKEN is not set: there is no bot to send it")
    from service.delivery.telegram import Telegram  # takes seconds to import

    source = reports.Source(dsn, "holdfast_worker", settings.time_zone)
    telegram = Telegram(settings, source)
    try:
        await telegram.send_report(store_id)
    except (delivery.Undeliverable, delivery.Postponed, ConnectionError) as error:
        print(f"Not sent, or not all of it: {error}", file=sys.stderr)
        return 1
    finally:
        await telegram.close()
    return 0
