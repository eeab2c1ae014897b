// Called with the HTML of an example's link: an address that names an example names the one on show, or none.
link => {
    const address = new URL(location), [, clip] = link.match(/\?example=([^"]*)/) ?? [];
    if (!address.searchParams.has("example")) return;
    if (clip) address.searchParams.set("example", decodeURIComponent(clip));
    else address.searchParams.delete("example");
    history.replaceState(history.state, "", address);
}
