package config

import "github.com/goccy/go-yaml"

// off reports whether a value disables its key, so that a configuration that sets the value
// explicitly still loads.
type off func(value any, fromEnv bool) bool

func isFalse(v any, fromEnv bool) bool {
	if fromEnv {
		return v != "true" && v != "1" && v != "yes"
	}
	return v == false
}

func isTrue(v any, fromEnv bool) bool {
	if fromEnv {
		return v == "true" || v == "1" || v == "yes"
	}
	return v == true
}

func isEmptyList(v any, _ bool) bool {
	list, is := v.([]any)
	return is && len(list) == 0
}

func isNull(v any, _ bool) bool { return v == nil }
func never(any, bool) bool      { return false }

func is(word string) off { return func(v any, _ bool) bool { return v == word } }

func notYet(what string) string { return "this version has no " + what }

// unless reports sentence for a key, unless nothing accepts the key's value.
func (r *reader) unless(name, sentence string, nothing off) {
	if r.inFile(name) && nothing(r.fileValue(name), false) && (r.env == nil || r.env[variable(name)] == "") {
		r.known = append(r.known, name)
		return
	}
	if value, fromEnv, ok := r.get(name); ok && !nothing(value, fromEnv) {
		r.fail(name, "%s", sentence)
	}
}

func (r *reader) fileValue(name string) any {
	for _, item := range r.items {
		if item.Key == name {
			return item.Value
		}
	}
	return nil
}

// refuse reports upstream keys (wire.md section 4) without effect here, each with its replacement,
// and keys of features that this version lacks.
func refuse(r *reader) {
	const sessions = "tsubo has no sessions: run jobs"
	for _, k := range []struct {
		name, sentence string
		nothing        off
	}{
		{"docker_image", "tsubo has no Docker: name an image of the catalogue in a job type (job_types: image)", never},
		{"container_runtime", "tsubo runs jobs with runsc only: take this out", is("runsc")},
		{"enable_userns", "there is no container user to choose: the job is uid 1000 in a sandbox of its own; take " +
			"this out", isFalse},
		{"enable_seccomp", "the system call filter cannot be switched off: take this out", isTrue},
		{"enable_cap_restrictions", "jobs never have capabilities: take this out", isTrue},
		{"seccomp_profile_path",
			notYet("own profile for the system call filter: the built-in default-deny one is always on"), isNull},
		{"allow_runtime_requirements",
			"tsubo does not install packages while a job runs: make an image that has them, and name it in a job type",
			isFalse},
		{"enable_runtime_dependency_cache",
			"a cache shared between jobs would be a way from one to the other: make an image that has the packages",
			isFalse},
		{"dependency_proxy_url", "nothing is installed at run time, so nothing goes through a proxy: take this out",
			isNull},
		{"queue_wait_timeout",
			"workers do not poll here; a synchronous caller waits at most its startup_timeout " +
				"(default_startup_timeout): take this out", never},

		{"sessions_enabled", sessions, isFalse},
		{"session_idle_timeout_seconds", sessions, never},
		{"session_max_ttl_seconds", sessions, never},
		{"session_max_concurrent", sessions, never},
		{"session_max_message_bytes", sessions, never},
		{"session_max_events_per_poll", sessions, never},
		{"session_model_cache_volume", sessions, isNull},
	} {
		r.unless(k.name, k.sentence, k.nothing)
	}
}

// refuseInType does the same for the keys of a job type.
func refuseInType(in *reader) {
	in.unless("base_image", "tsubo has no Docker: name an image of the catalogue with image", isNull)
	in.unless("shared_code", "put the files into the image, and name it with image", isEmptyList)
	in.unless("network_enabled", notYet("network for jobs: they have an empty network namespace"), isFalse)
	in.unless("session_enabled", "tsubo has no sessions: run jobs", isFalse)
	in.unless("gpu", "tsubo gives jobs no GPU: take this out", func(v any, _ bool) bool {
		// Accept {enabled: false} without effective details, as upstream writes it.
		items, is := v.(yaml.MapSlice)
		if !is {
			return v == nil
		}
		for _, item := range items {
			switch {
			case item.Key == "enabled" && item.Value == false:
			case (item.Key == "vendor" || item.Key == "count") && item.Value == nil:
			case item.Key == "device_ids" && isEmptyList(item.Value, false):
			default:
				return false
			}
		}
		return true
	})
}
