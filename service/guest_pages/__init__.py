"""What guests read: mails and the page of their link, from files that a restaurant can change.

`mail.html`, `mail.txt` and `cancel.html` are Jinja templates, `languages/*.toml` the words. A file
in HOLDFAST_TEMPLATES_DIR stands in for ours of the same name.
"""

import tomllib
from datetime import datetime, timedelta, timezone, tzinfo
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

OURS = Path(__file__).parent


def zone_of(name: str, utc_offset: int) -> tzinfo:
    """A restaurant's clocks; where PostgreSQL knows the zone and Python does not, by the offset."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return timezone(timedelta(seconds=utc_offset))


class Words:
    """One language: its words, its dates, its plurals."""

    def __init__(self, language: str, words: dict[str, Any]) -> None:
        self.language, self._words = language, words
        try:
            self._locale = Locale.parse(language.replace("-", "_"))
        except (ValueError, UnknownLocaleError):
            self._locale = Locale("en")

    def __getitem__(self, name: str) -> Any:
        return self._words[name]

    def guests(self, count: int) -> str:
        """For how many guests, in the plural form of the count."""
        forms = self._words["guests"]
        form = forms.get(self._locale.plural_form(count), forms["other"])
        return str(form).format(count=count)

    def day(self, at: datetime, zone: tzinfo) -> str:
        """Friday, 27 November 2026, by the restaurant's clocks."""
        return format_date(at.astimezone(zone), "full", self._locale)

    def hours(self, starts_at: datetime, ends_at: datetime | None, zone: tzinfo) -> str:
        """19:00-21:00 by the restaurant's clocks; with the day, where a visit ends on another."""
        start = starts_at.astimezone(zone)
        said = format_time(start, "HH:mm", locale=self._locale)
        if ends_at is None:
            return said
        end = ends_at.astimezone(zone)
        said += "\N{EN DASH}" + format_time(end, "HH:mm", locale=self._locale)
        if end.date() > start.date() + timedelta(days=1):
            said += f" ({format_date(end, 'long', self._locale)})"
        return said


class Pages:
    """Templates and words of one installation."""

    def __init__(self, folder: Path | None = None, language: str = "en") -> None:
        self._folders = [*([folder] if folder else []), OURS]
        self._language = language
        self._templates = Environment(
            loader=FileSystemLoader(self._folders),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.words = cache(self._read_words)

    def render(self, name: str, **facts: Any) -> str:
        """A template with these facts."""
        return self._templates.get_template(name).render(facts)

    def _read_words(self, language: str | None) -> Words:
        """The words of a language; of the installation's where there are none of it."""
        for wanted in (language, self._language, "en"):
            for folder in self._folders:
                file = folder / "languages" / f"{wanted}.toml"
                if wanted and file.is_file():
                    return Words(wanted, tomllib.loads(file.read_text("utf-8")))
        raise FileNotFoundError(f"There is no language {self._language}")
