"""Online Retail: what the customers of a British shop for gifts bought, and what they sent back.

D. Chen, "Online Retail", UCI Machine Learning Repository, 2015, https://doi.org/10.24432/C5BW33,
under CC BY 4.0.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from xrec import hookimpl
from xrec.data.tables import Tables
from xrec_plugins.datasets.files import ISO, Sheet, read_csv
from xrec_plugins.datasets.places import find

FILE = "online_retail.csv"
#: UCI's workbook saved as text in Excel has American dates.
DATES = (*ISO, "%m/%d/%Y %H:%M")
MOST = 1e6  # of anything on one line
#: Codes of products begin with five digits; POST, D, M, C2, BANK CHARGES and the like are postage,
#: discounts, corrections and fees.
PRODUCT = r"^\d{5}"
PRICES = (1.0, 2.0, 5.0, 10.0)
BANDS = ("under £1", "£1 to £2", "£2 to £5", "£5 to £10", "£10 or more")


@dataclass(frozen=True)
class OnlineRetail:
    """UCI's Online Retail as text: a line for each product on an invoice.

    It is looked for in `folder` if that is given, else in the folder that XREC_DATA_DIR names, or
    online-retail in it.
    """

    folder: str = ""

    def sources(self) -> Sequence[Path]:
        """The file. Raises DataError that says where to get it."""
        advice = (
            "get it from https://archive.ics.uci.edu/dataset/352/online+retail, save the workbook "
            f"as {FILE}"
        )
        return find("Online Retail", self.folder, "online-retail", (FILE,), advice=advice)

    def load(self) -> Tables:
        """Purchases and cancellations, products, and customers with their country.

        Lines that are of no product, or of no customer, are left to cleaning, which counts them.
        """
        sheet = read_csv(self.sources()[0], encodings=("utf-8", "latin-1"))
        lines = _lines(sheet)
        columns = ["user", "item", "time", "value", "action"]
        return Tables(lines.select(columns), items=_products(lines), users=_customers(lines))


@hookimpl
def xrec_datasets() -> Mapping[str, Callable[..., OnlineRetail]]:
    """Offer Online Retail."""
    return {"online_retail": OnlineRetail}


def _lines(sheet: Sheet) -> pl.DataFrame:
    """Every line, with the names and types of interactions, and its description, price, country."""
    customer = sheet.text("CustomerID")
    sheet.demand("CustomerID", customer.str.contains(r"^(\d+(\.0)?)?$"), "is no customer's number")
    quantity = sheet.number("Quantity", -MOST, MOST)
    invoice = sheet.ids("InvoiceNo")
    back = invoice.str.starts_with("C") | (quantity < 0)
    return pl.DataFrame(
        {
            "user": customer.str.strip_suffix(".0").replace("", None),
            "item": sheet.ids("StockCode").str.to_uppercase(),
            "time": sheet.date("InvoiceDate", DATES),
            "value": quantity,
            "action": back.replace_strict({True: "cancel", False: "buy"}, return_dtype=pl.String),
            "price": sheet.number("UnitPrice", -MOST, MOST),
            "description": sheet.text("Description").str.replace_all(r"\s+", " ").str.strip_chars(),
            "country": sheet.optional("Country"),
        }
    )


def _products(lines: pl.DataFrame) -> pl.DataFrame:
    """Products, each by its commonest description and its middle price.

    Notes such as "damaged", "?" or "amazon" stand in place of a description on lines without a
    price, which are corrections of the stock.
    """
    sold = lines.filter(pl.col("price") > 0, pl.col("description") != "")
    names = sold.group_by("item", "description").len().sort("item", "len", "description")
    names = names.group_by("item").agg(title=pl.col("description").last())
    prices = sold.group_by("item").agg(pl.col("price").median())
    items = lines.filter(pl.col("item").str.contains(PRODUCT)).select("item").unique().sort("item")
    items = items.join(names, "item", "left").join(prices, "item", "left").sort("item")
    # The shop writes in capitals throughout.
    titles = [title and title.capitalize() for title in items["title"]]
    bands = [
        None if price is None else BANDS[bisect_right(PRICES, price)] for price in items["price"]
    ]
    return items.select(
        "item",
        title=pl.Series(titles, dtype=pl.String),
        text=pl.Series(titles, dtype=pl.String),
        price=pl.Series(bands, dtype=pl.String),
    )


def _customers(lines: pl.DataFrame) -> pl.DataFrame:
    """Customers, each with the country that most of their lines name."""
    known = lines.filter(pl.col("user").is_not_null())
    counts = known.group_by("user", "country").len().sort("user", "len", "country")
    return counts.group_by("user", maintain_order=True).agg(pl.col("country").last())
