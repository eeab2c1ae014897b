// Puts the page's next request number in place of an event's first value: two requests may arrive in the wrong order.
(_, ...values) => {
    window.numRequests = (window.numRequests ?? 0) + 1;
    return [window.numRequests, ...values];
}
