"""The functions that the `tools` suite declares. All arguments are required, so that there is one right way to call."""

from __future__ import annotations

from typing import Any

__all__ = ["CURRENCIES", "FUNCTIONS", "ROOMS", "UNITS"]

ROOMS = ("kitchen", "bathroom", "bedroom", "hallway", "office", "cellar")
CURRENCIES = ("EUR", "USD", "GBP", "JPY", "CHF", "SEK", "PLN", "BRL")
UNITS = ("km", "mile", "kg", "pound", "litre", "gallon")


def text(description: str, *among: str) -> dict[str, Any]:
    """The schema of a text, which may be one of few."""
    return {"type": "string", "description": description} | ({"enum": list(among)} if among else {})


def number(description: str, kind: str = "number") -> dict[str, Any]:
    """The schema of a number."""
    return {"type": kind, "description": description}


def record(**properties: Any) -> dict[str, Any]:
    """The schema of an object that needs all of its properties."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def several(items: dict[str, Any], description: str) -> dict[str, Any]:
    """The schema of a list."""
    return {"type": "array", "description": description, "items": items}


def function(description: str, **arguments: Any) -> dict[str, Any]:
    """A declaration."""
    return {"description": description, "parameters": record(**arguments)}


DATE, TIME = "YYYY-MM-DD", "HH:MM, 24 hours"
ORDER = {"order_id": text("The order, as in A-1234")}

FUNCTIONS = {
    "get_weather": function(
        "The weather forecast for a city on one day.",
        city=text("The city's English name"),
        date=text(DATE),
        unit=text("Unit of temperatures", "celsius", "fahrenheit"),
    ),
    "get_air_quality": function(
        "The forecast of air quality for a city on one day.", city=text("The city's English name"), date=text(DATE)
    ),
    "convert_currency": function(
        "Convert an amount of money.",
        amount=number("The amount"),
        source=text("The currency it is in", *CURRENCIES),
        target=text("The currency that is wanted", *CURRENCIES),
    ),
    "convert_units": function(
        "Convert a measure.",
        value=number("The value"),
        source=text("The unit it is in", *UNITS),
        target=text("The unit that is wanted", *UNITS),
    ),
    "set_timer": function("Start a timer that rings after a time.", minutes=number("How long", "integer")),
    "set_alarm": function("Set an alarm that rings at a time of day.", time=text(TIME)),
    "create_event": function(
        "Put an event into the calendar.",
        title=text("The title, word for word"),
        date=text(DATE),
        start=text(TIME),
        duration_minutes=number("How long", "integer"),
        attendees=several(text("A first name"), "Who takes part"),
    ),
    "search_flights": function(
        "Find flights.",
        origin=text("IATA code of the airport"),
        destination=text("IATA code of the airport"),
        date=text(DATE),
        passengers=number("How many", "integer"),
        cabin=text("The class", "economy", "business"),
    ),
    "set_temperature": function(
        "Set the heating of a room.", room=text("The room", *ROOMS), celsius=number("Degrees Celsius")
    ),
    "switch_light": function(
        "Switch the light of a room on or off.",
        room=text("The room", *ROOMS),
        on={"type": "boolean", "description": "Whether it is to be on"},
    ),
    "place_order": function(
        "Order goods for a customer.",
        customer_id=text("The customer, as in C-123"),
        items=several(record(sku=text("The article"), quantity=number("How many", "integer")), "What is ordered"),
        ship_to=record(street=text("Street and number"), city=text("City"), postcode=text("Postcode")),
    ),
    "find_customer": function("Find a customer by e-mail.", email=text("The e-mail address")),
    "list_orders": function("List a customer's orders.", customer_id=text("The customer, as in C-123")),
    "get_order": function("Tell the state of an order.", **ORDER),
    "cancel_order": function("Cancel an order that has not been shipped.", **ORDER),
    "return_order": function("Send a label to return an order that has been shipped.", **ORDER),
    "refund_order": function("Pay back a part of an order.", **ORDER, amount_eur=number("How much, in euros")),
    "get_stock_price": function("The latest price of a share.", ticker=text("The ticker symbol")),
}
