console.log(process.title); process.title = 'me'; console.log(process.title, require('fs').readFileSync('/proc/self/comm', 'utf8'));
