console.log(process.kill(process.pid, 0));
try { process.kill(999999, 0); } catch (e) { console.log(e.code); }
try { process.kill(process.pid, 'SIGNOPE'); } catch (e) { console.log(e.code); }
