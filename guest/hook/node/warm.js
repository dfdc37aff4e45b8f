// What almost every program makes Node load and compile: the end of a module's loading (this file's own), and most of the way to standard output.
// Writing something would take an asynchronous id away from the program.
'use strict';
require('net');
require('util').format('%s', { a: [1, 'a'] }, new Error('x'));
