"""Opens the database and brings its schema up to date."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock
from sqlalchemy import Engine, create_engine, event, inspect
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError

from core.errors import InputError

MIGRATIONS = Path(__file__).parents[1] / "migrations"
HEAD = "0004"


def open_database(url: str, lock_folder: Path) -> Engine:
    """An engine on a database with the current schema. Raises InputError where it cannot be opened."""
    try:
        lock_folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"PRUNESCOPE_HOME = {str(lock_folder)!r} cannot be used ({error.strerror}); choose another folder."
        ) from error
    try:
        shown = make_url(url).render_as_string()
        engine = create_engine(url, pool_pre_ping=True)
    except (ArgumentError, ImportError) as error:
        raise InputError(f"PRUNESCOPE_DATABASE is not a database URL that can be used ({error}).") from error
    if make_url(url).get_backend_name() == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "handle_error", lambda context: _full_disk(context, shown))
    try:
        # The very first connection already changes a SQLite file (to WAL), so processes that start together take turns.
        with FileLock(lock_folder / "migration.lock"):
            _bring_up_to_date(engine, shown)
    except (DatabaseError, OSError) as error:
        raise InputError(f"database = {shown} cannot be opened: {getattr(error, 'orig', error)}.") from error
    return engine


def _full_disk(context: ExceptionContext, shown: str) -> None:
    if "disk is full" in str(context.original_exception):
        raise InputError(
            f"The disk of database = {shown} is full; free space there or set PRUNESCOPE_HOME to another disk."
        ) from context.original_exception


def _bring_up_to_date(engine: Engine, shown: str) -> None:
    found = _revision(engine)
    if found == HEAD:
        return
    if found is not None and not list((MIGRATIONS / "versions").glob(f"{found}_*.py")):
        raise InputError(f"database = {shown} was made by a newer version of this program ({found}); update it.")
    _upgrade(engine)


def _prepare_sqlite(connection, record) -> None:  # type: ignore[no-untyped-def]
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout=30000")  # first: the next line waits for a lock as well
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


def _upgrade(engine: Engine) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":  # its driver would let every CREATE stand by itself, half done if killed
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
