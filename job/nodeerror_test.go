package job

import "testing"

// What Node.js writes last when nothing catches an exception gives the error its type and its
// message, as a traceback of Python does.
func TestClassifyNode(t *testing.T) {
	head, tail := "noise\n/code/main.js:3\nfunction g() { boom; }\n               ^\n\n", "\n    at g (/code/main.js:3:22)\n    at node:internal/main/run_main_module:28:49\n\nNode.js v18.20.4\n"
	for stderr, want := range map[string]Error{
		head + "TypeError: boom" + tail:                                                                                                        {Type: "type_error", Message: "TypeError: boom"},
		head + "ReferenceError: boom is not defined" + tail:                                                                                    {Type: "name_error", Message: "ReferenceError: boom is not defined"},
		head + "RangeError: Maximum call stack size exceeded" + tail:                                                                           {Type: "recursion_error", Message: "RangeError: Maximum call stack size exceeded"},
		head + "RangeError: other" + tail:                                                                                                      {Type: "runtime_error", Message: "RangeError: other"},
		head + "Error: Cannot find module 'x'\nRequire stack:\n- /code/main.js" + tail:                                                         {Type: "import_error", Message: "Error: Cannot find module 'x'"},
		head + "Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'x' imported from /code/main.js" + tail:                                      {Type: "import_error", Message: "Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'x' imported from /code/main.js"},
		head + "Error: EROFS: read-only file system, open '/x'" + tail:                                                                         {Type: "permission", Message: "Error: EROFS: read-only file system, open '/x'"},
		head + "AssertionError [ERR_ASSERTION]: Expected values to be strictly equal:\n\n1 !== 2\n" + tail:                                     {Type: "assertion_error", Message: "AssertionError [ERR_ASSERTION]: Expected values to be strictly equal:"},
		"/code/main.js:1\nthrow undefined;\n^\nundefined\n(Use `node --trace-uncaught ...` to show where)\n\nNode.js v20.20.2\n":               {Type: "runtime_error", Message: "undefined"},
		"node:internal:288\n            trigger(err);\n            ^\n\n[UnhandledPromiseRejection: \"42\".] {\n  code: 'X'\n}\n\nNode.js v18": {Type: "runtime_error", Message: "UnhandledPromiseRejection: \"42\"."},
		head + "TypeError: boom\n": {Type: "runtime_error", Message: "TypeError: boom"},
		"Node.js v18.20.4":         {Type: "runtime_error", Message: "Node.js v18.20.4"},
		"   ^\n\nNode.js v18.20.4": {Type: "runtime_error", Message: "Node.js v18.20.4"},
	} {
		v := Classify(Facts{ExitCode: 1, Stderr: []byte(stderr)})
		if v.Status != Failed || v.Error == nil || *v.Error != want {
			t.Errorf("%q:\n%+v, want %+v", stderr, v.Error, want)
		}
	}
}
