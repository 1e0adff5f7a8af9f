"""The control room: where a run stands, followed while it runs. It reads the run's folder and writes nothing.

Start it with `runbook control-room --run NAME`.
"""

import marimo

app = marimo.App(width="full", app_title="Control room", css_file="../helpers/control_room/page/room.css")


@app.cell
def setup():
    import time

    import marimo as mo

    from helpers.control_room import differences, evidence, flow, overview, view

    outputs, first, public_key = overview.place()
    return differences, evidence, first, flow, mo, outputs, overview, public_key, time, view


@app.cell
def choose_run(first, mo, outputs, overview):
    _asked = [mo.query_params().get("run"), first, *overview.runs(outputs)]
    folder = outputs / next((each for each in _asked if each and overview.run_folder(outputs, each)), "none")
    follow = mo.ui.refresh(options=["1s"], default_interval="1s")
    return folder, follow


@app.cell
def remember(mo):
    get_version, set_version = mo.state("")
    get_moment, set_moment = mo.state(("", 0))
    get_report, set_report = mo.state("")
    get_table, set_table = mo.state("")
    get_column, set_column = mo.state("")
    get_page, set_page = mo.state(1)
    return (
        get_column,
        get_moment,
        get_page,
        get_report,
        get_table,
        get_version,
        set_column,
        set_moment,
        set_page,
        set_report,
        set_table,
        set_version,
    )


@app.cell
def watch(folder, follow, get_moment, get_version, overview, set_moment, set_version, time):
    follow.value  # noqa: B018 - runs this cell again at each tick
    # The other cells run again only when something has changed, so that what is chosen in them stays.
    _now = overview.version(folder)
    if _now != get_version():
        set_version(_now)
    if (_moment := overview.moment(folder.parent, _now, time.time())) != get_moment():
        set_moment(_moment)
    return


@app.cell
def read(folder, get_version, overview, public_key):
    get_version()
    found = overview.overview(folder, public_key)
    return (found,)


@app.cell
def show_top(folder, follow, found, get_moment, mo, overview, view):
    get_moment()
    mo.vstack([mo.Html(view.top(overview.now(found, folder), overview.listed(folder.parent))), follow], gap=0)
    return


@app.cell
def choose_part(mo):
    part = mo.ui.tabs(dict.fromkeys(("Timeline", "Steps", "Data", "Differences", "Evidence"), ""))
    mo.vstack([part])
    return (part,)


@app.cell
def show_run(found, mo, part, view):
    mo.stop(part.value not in ("Timeline", "Steps"))
    mo.Html(view.overview(found) if part.value == "Timeline" else view.steps(found))
    return


@app.cell
def show_data(flow, folder, found, mo, part, view):
    mo.stop(part.value != "Data")
    _manifest, _why_not = flow.staged_manifest(found.status.profile) if found.exists else (None, "")
    mo.Html(view.data(flow.flow(folder, _manifest, _why_not), folder.name))
    return


@app.cell
def read_verifications(differences, folder, get_version, mo, part):
    mo.stop(part.value != "Differences")
    get_version()
    reports = {each.name: each for each in differences.verifications(folder)}
    return (reports,)


@app.cell
def choose_report(found, get_report, mo, reports, set_page, set_report, view):
    mo.stop(not reports, mo.Html(view.message("No verification of this run has left a report yet.")))
    _first = [get_report(), *(each.verification.name for each in found.verdicts), *reports]
    _value = next(each for each in _first if each in reports)
    report = mo.ui.dropdown(
        list(reports), value=_value, label="Verification", on_change=lambda name: (set_report(name), set_page(1))
    )
    return (report,)


@app.cell
def show_report(folder, mo, report, reports, view):
    verification = reports[report.value]
    mo.vstack([report, mo.Html(view.verified(verification, folder.name))])
    return (verification,)


@app.cell
def choose_table(get_table, mo, set_column, set_page, set_table, verification):
    tables = {each.name: each for each in verification.differing}
    mo.stop(not tables)
    table = mo.ui.dropdown(
        list(tables),
        value=get_table() if get_table() in tables else next(iter(tables)),
        label="Table",
        on_change=lambda name: (set_table(name), set_column(""), set_page(1)),
    )
    return table, tables


@app.cell
def choose_column(differences, get_column, mo, set_column, set_page, table, tables):
    _names = differences.names(tables[table.value].cells)
    column = mo.ui.dropdown(
        ["every column", *_names],
        value=get_column() if get_column() in _names else "every column",
        label="Column",
        on_change=lambda name: (set_column(name), set_page(1)),
    )
    return (column,)


@app.cell
def choose_page(column, differences, get_page, mo, set_page, table, tables):
    chosen = None if column.value == "every column" else column.value
    _pages = differences.pages(tables[table.value].cells, column=chosen)
    page = mo.ui.number(
        1, _pages, value=min(get_page(), _pages), step=1, label=f"Page of {_pages:,}", on_change=set_page
    )
    mo.hstack([table, column, page], justify="start", gap=1.5, wrap=True)
    return chosen, page


@app.cell
def show_cells(chosen, differences, mo, page, table, tables, view):
    _offset = (int(page.value or 1) - 1) * differences.PAGE
    _table = tables[table.value]
    mo.Html(view.cells(differences.page(_table.cells, column=chosen, offset=_offset), _table))
    return


@app.cell
def show_evidence(evidence, folder, get_version, mo, part, view):
    mo.stop(part.value != "Evidence")
    get_version()
    mo.Html(view.evidence(evidence.evidence(folder), folder.name))
    return


@app.cell
def offer_check(found, mo, part):
    mo.stop(part.value != "Evidence" or not found.sealed)
    again = mo.ui.run_button(label="Check the evidence again")
    mo.vstack([again])
    return (again,)


@app.cell
def show_check(again, evidence, folder, get_version, mo, public_key, view):
    get_version()
    mo.stop(
        not again.value and evidence.size(folder) > evidence.CHECKED_AT_ONCE,
        mo.Html(view.message("The run is large: the button above hashes every file of it.")),
    )
    mo.Html(view.checked(evidence.checked(folder, public_key)))
    return


if __name__ == "__main__":
    app.run()
