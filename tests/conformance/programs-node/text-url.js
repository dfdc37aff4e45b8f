const u = new URL('https://user:pw@ex\u00e4mple.com:8080/p/a?q=1&q=2#f');
console.log(u, u.searchParams.getAll('q'), require('url').domainToASCII('ex\u00e4mple.com'), require('querystring').parse('a=1&b=2'), encodeURIComponent('\u{1f600}'));
