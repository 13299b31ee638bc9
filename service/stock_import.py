"""Stock from a CSV file (being written)."""

from pathlib import Path

from service.database import connect


async def import_file(dsn: str, store_id: str, file: Path, *, add: bool) -> int:
    """Temporary: loads the demonstration stock."""
    connection = await connect(dsn, "holdfast_owner", seconds=None)
    for line in file.read_text().splitlines()[1:]:
        product_id, name, quantity, price = line.split(",")
        await connection.execute(
            "INSERT INTO products (store_id, product_id, name, price) VALUES ($1, $2, $3, $4)",
            store_id, product_id, name, int(price),
        )  # fmt: skip
        await connection.execute(
            "UPDATE stock SET on_hand = $3 WHERE store_id = $1 AND product_id = $2",
            store_id, product_id, int(quantity),
        )  # fmt: skip
    await connection.close()
    return 0
