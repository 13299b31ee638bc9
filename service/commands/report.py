"""report: what a store has, as text on standard output, to the Telegram chat, or into a file."""

import argparse
import asyncio
import shutil
import sys
from pathlib import Path

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
        opened = reports.reading(dsn, "holdfast_worker", store_id, settings.time_zone)
        async with opened as report:
            if not arguments.output:
                async for line in reports.lines(report):
                    print(line)
                return 0
            file = await reports.write_workbook(report)
        with file, arguments.output.open("wb") as output:
            await asyncio.to_thread(shutil.copyfileobj, file, output)
    return 0


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
