"""Breaks of “What is promised”: what is fetched from a hub, or from where a setting says."""

from __future__ import annotations

from tests.breaks.cases import Break

FETCHED = (
    Break(
        "A model's files are the hub's",
        "checksums are not compared",
        "scripts/models/hub.py",
        "        return record.checksum(path, hashlib.sha256(), seen) == file.sha256\n",
        "        return True\n",
        "scripts/test_download_model.py::test_content_that_stays_wrong_is_not_kept",
    ),
    Break(
        "A model's files are the hub's",
        "pickles are taken",
        "scripts/models/hub.py",
        "        if path.suffix in _OTHER_WEIGHTS or path.parts[0] in _OTHER_FOLDERS:\n            continue\n",
        "",
        "scripts/test_hub.py::test_weights_in_other_forms_are_left_out",
    ),
    Break(
        "A model's files are the hub's",
        "names lead out of the folder",
        "server/fetch/files.py",
        '    if not plain or parts.is_absolute() or ".." in parts.parts or not parts.parts:\n',
        "    if not plain or not parts.parts:\n",
        "scripts/test_hub.py::test_names_that_lead_out_of_the_folder_are_refused",
    ),
    Break(
        "A model's files are the hub's",
        "more is written than was told",
        "scripts/models/hub.py",
        "        if self._stream.tell() + len(piece) > self._most:\n            raise _WrongSize\n",
        "",
        "scripts/test_hub.py::test_no_more_is_written_than_was_told",
    ),
    Break(
        "A model's files are the hub's",
        "a hub leads to plain http",
        "scripts/models/hub_client.py",
        '        if url.scheme != "https" and not own:\n',
        "        if False:\n",
        "scripts/test_hub.py::test_a_hub_leads_to_public_https_addresses_alone",
    ),
    Break(
        "A file that a setting names by URL",
        "redirects may leave https",
        "server/fetch/fetcher.py",
        '    if url.scheme != "https":\n',
        '    if url.scheme != "https" and after is None:\n',
        "fetch/test_fetcher.py::test_where_a_redirect_may_not_lead",
    ),
    Break(
        "A file that a setting names by URL",
        "only the first address of a name is checked",
        "server/fetch/network.py",
        "        for address in addresses:\n            check(host, address, self._refused)\n",
        "        check(host, addresses[0], self._refused)\n",
        "fetch/test_network.py::test_one_private_address_among_public_ones_refuses_the_name",
    ),
    Break(
        "A file that a setting names by URL",
        "the other end is not checked again",
        "server/fetch/network.py",
        '                check(host, str(stream.get_extra_info("server_addr")[0]), self._refused)\n',
        "                pass\n",
        "fetch/test_network.py::test_the_other_end_is_what_counts",
    ),
    Break(
        "A file that a setting names by URL",
        "IPv4 inside IPv6 is not looked at",
        "server/fetch/network.py",
        "    inner = address.ipv4_mapped or address.sixtofour\n",
        "    inner = None\n",
        "fetch/test_network.py::test_everything_else_may_not",
    ),
    Break(
        "A file that a setting names by URL",
        "checksums are not compared",
        "server/fetch/fetcher.py",
        "        if sha256 and digest.hexdigest() != sha256.lower():\n",
        "        if False:\n",
        "fetch/test_fetcher.py::test_another_content_than_the_checksums_is_refused",
    ),
    Break(
        "A file that a setting names by URL",
        "any size is taken",
        "server/fetch/fetcher.py",
        "            if came > most:\n                raise too_large\n",
        "",
        "fetch/test_fetcher.py::test_no_more_is_taken_than_allowed",
    ),
    Break(
        "A file that a setting names by URL",
        "files out of the folder are read",
        "server/fetch/files.py",
        "    if path == root or not path.is_relative_to(root):\n",
        "    if False:\n",
        "fetch/test_files.py::test_links_that_lead_out_are_refused",
    ),
)
