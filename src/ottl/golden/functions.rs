//! One row at least for each converter, and for what it refuses.

use super::kit::value_of;
use crate::Context;

fn check(text: &str, expected: &str) {
    assert_eq!(value_of(Context::Log, 0, text), expected, "{text}");
}

#[test]
fn conversions() {
    check("Bool(\"true\")", "true");
    check("Bool(attributes[\"i\"])", "true");
    check("Bool(0.0)", "false");
    check("Bool(nil)", "nil");
    check("Bool(\"yes\")", "fault: Bool: the text is no bool");
    check(
        "Bool(attributes[\"l\"])",
        "error: Bool: expected bool, number or string but got list",
    );
    check("Double(\"1.5\")", "1.5");
    check("Double(2)", "2.0");
    check("Double(true)", "1.0");
    check("Double(nil)", "nil");
    check(
        "Double(attributes[\"s\"])",
        "error: Double: the text is no number",
    );
    check("Int(\"2\")", "2");
    check("Int(3.9)", "3");
    check("Int(-3.9)", "-3");
    check("Int(\"2.5\")", "nil");
    check("Int(nil)", "nil");
    check(
        "Int(attributes[\"m\"])",
        "error: Int: expected number, bool or string but got map",
    );
    check("String(1.0)", "\"1\"");
    check("String(attributes[\"y\"])", "\"01ff\"");
    check(
        "String(attributes[\"m\"])",
        "\"{\\\"deep\\\":{\\\"y\\\":7},\\\"x\\\":\\\"in\\\"}\"",
    );
    check("String(log.time)", "\"\\\"2023-11-14T22:13:20.123456789Z\\\"\"");
    check("String(span_id)", "\"[1,2,3,4,5,6,7,8]\"");
    check("String(nil)", "nil");
    check("Log(1)", "0.0");
    check("Log(0)", "error: Log: the logarithm needs a number above 0");
    check("Log(attributes[\"none\"])", "error: Log: the logarithm of nil");
}

#[test]
fn collections() {
    check("Coalesce([attributes[\"none\"], attributes[\"i\"], 3])", "5");
    check("Coalesce([])", "fault: Coalesce: the list must not be empty");
    check(
        "Concat([\"a\", 1, nil, attributes[\"d\"]], \"-\")",
        "\"a-1-<nil>-1.5\"",
    );
    check("Concat([], \"-\")", "\"\"");
    check("ContainsValue(attributes[\"l\"], \"two\")", "true");
    check("ContainsValue(attributes[\"l\"], 1.0)", "true");
    check("ContainsValue(attributes[\"l\"], 2)", "false");
    check(
        "ContainsValue(attributes[\"s\"], 2)",
        "error: ContainsValue: expected list but got string",
    );
    check("Index(\"hello\", \"l\")", "2");
    check("Index(\"hello\", \"z\")", "-1");
    check("Index(attributes[\"l\"], \"two\")", "1");
    check(
        "Index(\"hello\", 1)",
        "fault: Index: expected string to look for but got int64",
    );
    check(
        "Index(5, 1)",
        "fault: Index: expected string or list but got int64",
    );
    check("Keys({\"b\": 1, \"a\": 2})", "[\"b\", \"a\"]");
    check("Keys(attributes[\"m\"])", "[\"x\", \"deep\"]");
    check("Values({\"b\": 1, \"a\": nil})", "[1, nil]");
    check("Len(attributes)", "8");
    check("Len(\"h\u{e9}\")", "3");
    check("Len([1, 2])", "2");
    check("Len(attributes[\"m\"])", "2");
    check("Len(5)", "fault: Len: expected string, map or list but got int64");
    check("SliceToMap([\"a\", 2])", "{0: \"a\", 1: 2}");
    check(
        "SliceToMap([{\"k\": \"x\", \"v\": {\"w\": 1}}], [\"k\"], [\"v\", \"w\"])",
        "{x: 1}",
    );
    check(
        "SliceToMap([{\"k\": \"x\"}], key_path=[\"k\"])",
        "{x: {k: \"x\"}}",
    );
    check(
        "SliceToMap([{\"k\": 1}], [\"k\"])",
        "fault: SliceToMap: expected key that is string but got int64",
    );
    check(
        "SliceToMap([1], [\"k\"])",
        "fault: SliceToMap: expected list of maps but got int64",
    );
    check("Sort([3, 1, 2])", "[1, 2, 3]");
    check("Sort([3, 1.5, 2], \"desc\")", "[3, 2, 1.5]");
    check("Sort([3, \"10\", true])", "[\"10\", 3, true]");
    check("Sort([[2], 1])", "[[2], 1]");
    check(
        "Sort([1], \"up\")",
        "fault: Sort: the order must be \"asc\" or \"desc\"",
    );
}

#[test]
fn encodings() {
    check("Base64Decode(\"aGk=\")", "\"hi\"");
    check(
        "Base64Decode(\"aGk\")",
        "error: Base64Decode: the text is not base64",
    );
    check("Base64Encode(\"hi\")", "\"aGk=\"");
    check("Base64Encode(\"hi\", \"base64-raw\")", "\"aGk\"");
    check("Base64Encode(\"\u{fb}\u{ff}>\", \"base64-url\")", "\"w7vDvz4=\"");
    check("Base64Encode(\"~~?\", \"base64\")", "\"fn4/\"");
    check("Base64Encode(\"~~?\", \"base64-raw-url\")", "\"fn4_\"");
    check(
        "Base64Encode(\"hi\", \"base32\")",
        "fault: Base64Encode: unsupported base64 variant \"base32\"",
    );
    check("Decode(\"aGk\", \"base64-raw\")", "\"hi\"");
    check("Decode(\"fn4_\", \"base64-url\")", "\"~~?\"");
    check("Decode(0xe9, \"iso-8859-1\")", "\"\u{e9}\"");
    check("Decode(0x68006900, \"utf-16\")", "\"hi\"");
    check("Decode(\"hi\", \"nop\")", "\"hi\"");
    check("Decode(\"hi\", \"us-ascii\")", "\"hi\"");
    check(
        "Decode(\"hi\", \"klingon\")",
        "fault: Decode: no decoder for the encoding \"klingon\"",
    );
    check(
        "Decode(5, \"utf-8\")",
        "fault: Decode: expected string or bytes but got int64",
    );
    check("Hex(5)", "\"0000000000000005\"");
    check("Hex(1.0)", "\"3ff0000000000000\"");
    check("Hex(\"hi\")", "\"6869\"");
    check("Hex(true)", "\"01\"");
    check("Hex(nil)", "\"\"");
    check(
        "Hex(attributes[\"m\"])",
        "error: Hex: expected bytes, string or number but got map",
    );
    check(
        "TraceID(0x0102030405060708090a0b0c0d0e0f10) == trace_id.string",
        "fault: unexpected \"==\"; expected the end of the value",
    );
    check(
        "TraceID(0x0102030405060708090a0b0c0d0e0f10)",
        "trace 0x0102030405060708090a0b0c0d0e0f10",
    );
    check(
        "TraceID(\"0102030405060708090a0b0c0d0e0f10\")",
        "trace 0x0102030405060708090a0b0c0d0e0f10",
    );
    check(
        "ProfileID(0x0102030405060708090a0b0c0d0e0f10)",
        "profile 0x0102030405060708090a0b0c0d0e0f10",
    );
    check("SpanID(0x0102030405060708)", "span 0x0102030405060708");
    check(
        "SpanID(0x01)",
        "fault: SpanID: an id has 8 bytes, or twice as many hexadecimal digits",
    );
}

#[test]
fn hashes() {
    check("FNV(\"hello\")", "-6615550055289275125");
    check("FNV(\"\")", "-3750763034362895579");
    check("MD5(\"hello\")", "\"5d41402abc4b2a76b9719d911017c592\"");
    check("SHA1(\"hello\")", "\"aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d\"");
    check(
        "SHA256(\"hello\")",
        "\"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\"",
    );
    check(
        "SHA512(\"\")",
        "\"cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e\"",
    );
    check("MD5(5)", "fault: MD5: expected string but got int64");
    check("Murmur3Hash(\"hello\")", "\"47fa8b24\"");
    check(
        "Murmur3Hash128(\"hello\")",
        "\"029bbd41b3a7d8cb191dae486a901e5b\"",
    );
    check("XXH3(\"\")", "\"2d06800538d394c2\"");
    check("XXH128(\"\")", "\"99aa06d3014798d86001c324468d497f\"");
    check("UUID()", "\"abababab-abab-4bab-abab-abababababab\"");
    check("UUIDv7()", "\"018cc251-f400-7bab-abab-abababababab\"");
}

#[test]
fn json() {
    check(
        "ParseJSON(\"{\\\"a\\\":1,\\\"b\\\":[true,null,\\\"x\\\"]}\")",
        "{a: 1.0, b: [true, nil, \"x\"]}",
    );
    check("ParseJSON(\"[1.5, {}]\")", "[1.5, {}]");
    check("ParseJSON(\"{\\\"a\\\":1}\")[\"a\"]", "1.0");
    check("ParseJSON(\"{\\\"a\\\":[1]}\")[\"a\"][0]", "1.0");
    check(
        "ParseJSON(\"{\\\"a\\\":1}\")[\"b\"]",
        "error: key not found in map",
    );
    check("ParseJSON(\"[1]\")[1]", "error: index out of range of the list");
    check(
        "ParseJSON(\"5\")",
        "error: ParseJSON: could not convert parsed JSON: neither object nor array",
    );
    check(
        "ParseJSON(body)",
        "error: ParseJSON: the text is not JSON (line 1, column 1)",
    );
    check(
        "ParseJSON(attributes[\"i\"])",
        "error: ParseJSON: expected string but got int64",
    );
}

#[test]
fn network() {
    check(
        "CommunityID(\"128.232.110.120\", 34855, \"66.35.250.204\", 80)",
        "\"1:LQU9qZlK+B5F3KDmev6m5PMibrg=\"",
    );
    check(
        "CommunityID(\"66.35.250.204\", 80, \"128.232.110.120\", 34855, \"TCP\")",
        "\"1:LQU9qZlK+B5F3KDmev6m5PMibrg=\"",
    );
    check(
        "CommunityID(\"128.232.110.120\", 34855, \"66.35.250.204\", 80, \"TCP\", 1)",
        "\"1:3V71V58M3Ksw/yuFALMcW0LAHvc=\"",
    );
    check(
        "CommunityID(\"x\", 1, \"10.0.0.2\", 2)",
        "error: CommunityID: invalid IP address",
    );
    check(
        "CommunityID(\"10.0.0.1\", 0, \"10.0.0.2\", 2)",
        "error: CommunityID: a port is between 1 and 65535",
    );
    check(
        "IsInCIDR(\"10.1.2.3\", [\"192.168.0.0/16\", \"10.0.0.0/8\"])",
        "true",
    );
    check("IsInCIDR(\"11.1.2.3\", [\"10.0.0.0/8\"])", "false");
    check("IsInCIDR(\"::1\", [\"::/0\"])", "true");
    check("IsInCIDR(\"1.2.3.4\", [\"0.0.0.0/0\"])", "true");
    check("IsInCIDR(\"no\", [\"10.0.0.0/8\"])", "false");
    check(
        "IsInCIDR(\"10.1.2.3\", [\"10.0.0.0/33\"])",
        "fault: IsInCIDR: invalid network \"10.0.0.0/33\"",
    );
    check(
        "URL(\"http://u:p@example.com:8080/a/b.tar?x=1&y#frag\")",
        "{url.original: \"http://u:p@example.com:8080/a/b.tar?x=1&y#frag\", url.domain: \"example.com\", \
         url.scheme: \"http\", url.path: \"/a/b.tar\", url.extension: \"tar\", url.port: 8080, url.fragment: \"frag\", \
         url.query: \"x=1&y\", url.user_info: \"u:p\", url.username: \"u\", url.password: \"p\"}",
    );
    check(
        "URL(\"/only/path\")",
        "{url.original: \"/only/path\", url.domain: \"\", url.scheme: \"\", url.path: \"/only/path\"}",
    );
    check("URL(\"http://[::1]:80/\")[\"url.domain\"]", "\"::1\"");
    check(
        "URL(\"?a=1&a=2&b=%20+\")",
        "{query: {a: [\"1\", \"2\"], b: [\"  \"]}}",
    );
    check("URL(\"\")", "error: URL: the URL is empty");
    check("URL(\"http://a:b/\")", "error: URL: the text is no URL");
    check("URL(\"http://a/%zz\")", "error: URL: the text is no URL");
}

#[test]
fn structured_texts() {
    check(
        "ParseCSV(\"1,\\\"a,b\\\",3\", \"x,y,z\")",
        "{x: \"1\", y: \"a,b\", z: \"3\"}",
    );
    check("ParseCSV(\"1|2\", \"x y\", \"|\", \" \")", "{x: \"1\", y: \"2\"}");
    check("ParseCSV(\"1,2\\n3\", \"x,y\")", "{x: \"1\", y: \"2\\n3\"}");
    check(
        "ParseCSV(\"\\\"a\\\"\\\"b\\\",\", \"x,y\")",
        "{x: \"a\\\"b\", y: \"\"}",
    );
    check(
        "ParseCSV(\"1,2\", \"x\")",
        "error: ParseCSV: wrong number of fields: expected 1, found 2",
    );
    check(
        "ParseCSV(\"a\\\"b\", \"x\")",
        "error: ParseCSV: bare \" in a field without quotes",
    );
    check(
        "ParseCSV(\"a\\\"b\", \"x\", mode=\"lazyQuotes\")",
        "{x: \"a\\\"b\"}",
    );
    check(
        "ParseCSV(\"\\\"a,b\\\"\", \"x,y\", mode=\"ignoreQuotes\")",
        "{x: \"\\\"a\", y: \"b\\\"\"}",
    );
    check(
        "ParseCSV(\"a\", \"x\", mode=\"no\")",
        "fault: ParseCSV: the mode must be \"strict\", \"lazyQuotes\" or \"ignoreQuotes\"",
    );
    check(
        "ParseCSV(\"a\", \"x\", \"ab\")",
        "fault: ParseCSV: delimiter must be a single character, and neither quote nor line end",
    );
    check("ParseInt(\"ff\", 16)", "255");
    check(
        "ParseInt(\"\", 10)",
        "error: ParseInt: invalid target: the text is empty",
    );
    check(
        "ParseInt(\"5\", -1)",
        "error: ParseInt: invalid base: it must be 0, or between 2 and 36",
    );
    check(
        "ParseInt(\"z\", 10)",
        "error: ParseInt: the text is no whole number in this base",
    );
    check(
        "ParseKeyValue(\"a=1 b='x y' c=\\\"=\\\"\")",
        "{a: \"1\", b: \"x y\", c: \"=\"}",
    );
    check(
        "ParseKeyValue(\"a:1, b:2\", \":\", \",\")",
        "{a: \"1\", b: \"2\"}",
    );
    check(
        "ParseKeyValue(\"a\")",
        "error: ParseKeyValue: cannot divide a pair into key and value",
    );
    check(
        "ParseKeyValue(\"a='b\")",
        "error: ParseKeyValue: never reached the end of a quoted value",
    );
    check(
        "ParseKeyValue(\"\")",
        "error: ParseKeyValue: cannot parse an empty text",
    );
    check(
        "ParseKeyValue(\"a\", \"=\", \"=\")",
        "fault: ParseKeyValue: the delimiters must not be the same",
    );
    check(
        "ToKeyValueString({\"b\": 1, \"a\": \"x y\"})",
        "\"b=1 a=\\\"x y\\\"\"",
    );
    check(
        "ToKeyValueString({\"b\": 1, \"a\": \"\\\"\"}, \":\", \",\", true)",
        "\"a:\\\\\\\",b:1\"",
    );
    let mapping = "{\"error\": [{\"equals\": [\"err\"]}, {\"range\": {\"min\": 400, \"max\": 599}}], \"ok\": [\"2xx\"]}";
    check(&format!("ParseSeverity(\"err\", {mapping})"), "\"error\"");
    check(&format!("ParseSeverity(404, {mapping})"), "\"error\"");
    check(&format!("ParseSeverity(204, {mapping})"), "\"ok\"");
    check(
        &format!("ParseSeverity(\"warn\", {mapping})"),
        "error: ParseSeverity: could not map the severity: no criterion holds",
    );
    check(
        "ParseSeverity(1, {\"a\": 5})",
        "fault: ParseSeverity: the criteria of \"a\" must be a list",
    );
}

#[test]
fn access_logs() {
    let line = r#"10.0.0.1 - bob [10/Oct/2000:13:55:36 -0700] \"GET /a HTTP/1.0\" 200 2326"#;
    let parsed = r#"clf.remote_host: "10.0.0.1", clf.rfc931: "-", clf.auth_user: "bob", clf.timestamp: "10/Oct/2000:13:55:36 -0700", clf.request: "GET /a HTTP/1.0", clf.method: "GET", clf.request_uri: "/a", clf.protocol: "HTTP/1.0", clf.status: 200, clf.bytes: 2326"#;
    check(&format!("ParseCLF(\"{line}\")"), &format!("{{{parsed}}}"));
    check(&format!("ParseCLF(\"{line}\", \"clf\")[\"clf.status\"]"), "200");
    check(
        &format!(r#"ParseCLF("{line} \"http://r/\" \"curl \\\"8\\\"\"", "combined")"#),
        &format!(r#"{{{parsed}, clf.referer: "http://r/", clf.user_agent: "curl \"8\""}}"#),
    );
    check(
        r#"ParseCLF("h - - [t] \"-\" 408 -")"#,
        r#"{clf.remote_host: "h", clf.rfc931: "-", clf.auth_user: "-", clf.timestamp: "t", clf.request: "-", clf.status: 408}"#,
    );
    check(
        "ParseCLF(body)",
        "error: ParseCLF: the text is not a line of an access log in this format",
    );
    check(
        &format!("ParseCLF(\"{line} \")"),
        "error: ParseCLF: the text is not a line of an access log in this format",
    );
    check(
        &format!("ParseCLF(\"{line}\", \"combined\")"),
        "error: ParseCLF: the text is not a line of an access log in this format",
    );
    check(
        "ParseCLF(body, \"x\")",
        "fault: ParseCLF: the format must be \"clf\" or \"combined\"",
    );
    check("ParseCLF(nil)", "fault: ParseCLF: expected string but got nil");
    assert_eq!(
        value_of(Context::Span, 0, "ParseCLF(name)"),
        "fault: the span context does not have the function \"ParseCLF\""
    );
}

#[test]
fn patterns() {
    check("IsMatch(5, \"^5$\")", "true");
    check("IsMatch(nil, \".\")", "false");
    check("IsMatch(body, \"w.rld\")", "true");
    check("IsMatch(body, attributes[\"s\"])", "false");
    check("IsMatch(body, Concat([\"^hel\", \"lo\"], \"\"))", "true");
    check(
        "IsMatch(body, \"(\")",
        "fault: the pattern supplied is not a valid regexp: error parsing regexp: unclosed group",
    );
    check(
        "IsMatch(body, 1)",
        "fault: argument \"pattern\" must be a regular expression in double quotes",
    );
    check("IsMatch(\"\u{661}\", \"^\\\\d$\")", "false");
    check(
        "ExtractPatterns(\"a=1\", \"(?P<k>\\\\w+)=(?P<v>.)(?P<none>x)?\")",
        "{k: \"a\", v: \"1\", none: \"\"}",
    );
    check("ExtractPatterns(\"-\", \"(?P<k>\\\\w+)=\")", "{}");
    check(
        "ExtractPatterns(\"a\", \"a\")",
        "fault: ExtractPatterns: at least 1 named capture group must be supplied in the given regex",
    );
    check(
        "ExtractPatterns(nil, \"(?P<k>a)\")",
        "fault: ExtractPatterns: expected string but got nil",
    );
}

#[test]
fn predicates() {
    check("IsBool(true)", "true");
    check("IsBool(attributes[\"i\"])", "false");
    check("IsDouble(attributes[\"d\"])", "true");
    check("IsDouble(1)", "false");
    check("IsInt(attributes[\"i\"])", "true");
    check("IsString(attributes[\"s\"])", "true");
    check("IsString(nil)", "false");
    check("IsMap(attributes)", "true");
    check("IsMap(attributes[\"l\"])", "false");
    check("IsList(attributes[\"l\"])", "true");
    check("IsList(nil)", "false");
    check("HasPrefix(body, \"hello\")", "true");
    check("HasSuffix(body, \"hello\")", "false");
    check(
        "HasPrefix(nil, \"a\")",
        "fault: HasPrefix: expected string but got nil",
    );
    check("IsValidLuhn(\"4539 1488 0343 6467\")", "true");
    check("IsValidLuhn(17893729974)", "true");
    check("IsValidLuhn(\"8273 1232 7352 0569\")", "false");
    check("IsValidLuhn(\"\")", "false");
    check(
        "IsValidLuhn(\"4x\")",
        "error: IsValidLuhn: the number has something that is no digit",
    );
    check("IsValidLuhn(nil)", "error: IsValidLuhn: the number is nil");
    check(
        "IsRootSpan()",
        "fault: the log context does not have the function \"IsRootSpan\"",
    );
    assert_eq!(value_of(Context::Span, 0, "IsRootSpan()"), "false");
}

#[test]
fn texts() {
    check("ConvertCase(\"aB c\", \"snake\")", "\"a_b_c\"");
    check("ConvertCase(\"JSONData\", \"snake\")", "\"json_data\"");
    check("ConvertCase(\"a1b\", \"snake\")", "\"a_1_b\"");
    check("ConvertCase(\"some-thing.else\", \"camel\")", "\"SomeThingElse\"");
    check("ConvertCase(\"\u{e9}A\", \"upper\")", "\"\u{c9}A\"");
    check("ConvertCase(\"AB\", \"lower\")", "\"ab\"");
    check("ConvertCase(\"\", \"camel\")", "\"\"");
    check(
        "ConvertCase(\"a\", \"kebab\")",
        "fault: ConvertCase: invalid case; allowed are lower, upper, snake, camel",
    );
    check("ToCamelCase(\"my_metric\")", "\"MyMetric\"");
    check("ToSnakeCase(\"MyMetric\")", "\"my_metric\"");
    check("ToLowerCase(\"A\u{c9}\")", "\"a\u{e9}\"");
    check("ToUpperCase(\"a\")", "\"A\"");
    check("Split(\"a|b||\", \"|\")", "[\"a\", \"b\", \"\", \"\"]");
    check("Split(\"h\u{e9}\", \"\")", "[\"h\", \"\u{e9}\"]");
    check("Split(\"a|b\", \"|\")[1]", "\"b\"");
    check("Substring(\"abcdef\", 1, 3)", "\"bcd\"");
    check("Substring(\"h\u{e9}llo\", 0, 2)", "\"h\"");
    check("Substring(\"h\u{e9}llo\", 2, 3)", "\"ll\"");
    check(
        "Substring(\"abc\", -1, 1)",
        "error: Substring: invalid start for substring: it must not be negative",
    );
    check(
        "Substring(\"abc\", 0, 0)",
        "error: Substring: invalid length for substring: it must be above 0",
    );
    check(
        "Substring(\"abc\", 1, 3)",
        "error: Substring: invalid range for substring: it cannot be longer than the text",
    );
    check("Trim(\"  a b \")", "\"a b\"");
    check("Trim(\"xyaxy\", \"yx\")", "\"a\"");
    check("TrimPrefix(body, \"hello \")", "\"world\"");
    check("TrimPrefix(body, \"x\")", "\"hello world\"");
    check("TrimSuffix(body, \" world\")", "\"hello\"");
}

#[test]
fn formats() {
    check("Format(\"%s-%d\", [\"a\", 5])", "\"a-5\"");
    check(
        "Format(\"%05d|%-4d|%4d|%+d\", [5, 5, 5, 5])",
        "\"00005|5   |   5|+5\"",
    );
    check(
        "Format(\"%x %X %#x %o %b %c\", [255, 255, 255, 8, 5, 65])",
        "\"ff FF 0xff 10 101 A\"",
    );
    check(
        "Format(\"%.2f %f %e %v %g\", [1.5, 1.5, 1500.0, 1.5, 1.0])",
        "\"1.50 1.500000 1.500000e+03 1.5 1\"",
    );
    check(
        "Format(\"%q %t %v %x\", [\"a\", true, nil, \"hi\"])",
        "\"\\\"a\\\" true <nil> 6869\"",
    );
    check("Format(\"100%%\", [])", "\"100%\"");
    check("Format(\"%d\", [\"a\"])", "\"%!d(string=a)\"");
    check("Format(\"%s %s\", [\"a\"])", "\"a %!s(MISSING)\"");
    check("Format(\"%s\", [\"a\", 1])", "\"a%!(EXTRA int64=1)\"");
    check("Format(\"%\", [])", "\"%!(NOVERB)\"");
    check(
        "Format(\"%.2s|%-3s|%3s\", [\"abc\", \"a\", \"a\"])",
        "\"ab|a  |  a\"",
    );
    check("Format(\"%06.2f\", [-1.5])", "\"-01.50\"");
}

#[test]
fn times() {
    check("Year(log.time)", "2023");
    check("Month(log.time)", "11");
    check("Day(log.time)", "14");
    check("Hour(log.time)", "22");
    check("Minute(log.time)", "13");
    check("Second(log.time)", "20");
    check("Nanosecond(log.time)", "123456789");
    check("Weekday(log.time)", "2");
    check("Year(5)", "fault: Year: expected time but got int64");
    check("UnixSeconds(log.time)", "1700000000");
    check("UnixMilli(log.time)", "1700000000123");
    check("UnixMicro(log.time)", "1700000000123456");
    check("UnixNano(log.time)", "1700000000123456789");
    check("Duration(\"1h2m3s\")", "3723000000000ns");
    check("Duration(\"x\")", "error: Duration: the text is not a duration");
    check("Hours(Duration(\"90m\"))", "1.5");
    check("Minutes(Duration(\"90s\"))", "1.5");
    check("Seconds(Duration(\"1500ms\"))", "1.5");
    check("Milliseconds(Duration(\"1.5s\"))", "1500");
    check("Microseconds(Duration(\"1ms\"))", "1000");
    check("Nanoseconds(Duration(\"1us\"))", "1000");
    check("Now()", "time 2024-01-01T00:00:00Z");
    check("Now() - log.time", "4067199876543211ns");
    check(
        "TruncateTime(log.time, Duration(\"1h\"))",
        "time 2023-11-14T22:00:00Z",
    );
    check("Unix(5, 6)", "time 1970-01-01T00:00:05.000000006Z");
    check("Unix(-1)", "time 1969-12-31T23:59:59Z");
    check("Unix(\"5\")", "fault: Unix: expected int64 but got string");
    check(
        "FormatTime(log.time, \"%Y-%m-%dT%H:%M:%S.%L%z\")",
        "\"2023-11-14T22:13:20.123Z\"",
    );
    check(
        "FormatTime(log.time, \"%Q\")",
        "fault: FormatTime: unknown directive %Q",
    );
    check("Time(\"2024-02-29\", \"%Y-%m-%d\")", "time 2024-02-29T00:00:00Z");
    check(
        "Time(\"2024-07-01 12\", \"%Y-%m-%d %H\", \"Europe/Berlin\")",
        "time 2024-07-01T12:00:00+02:00",
    );
    check(
        "Hour(Time(\"2024-07-01 12\", \"%Y-%m-%d %H\", \"Asia/Tokyo\"))",
        "12",
    );
    check(
        "Time(body, \"%Y\")",
        "error: Time: the text is not a time in this layout",
    );
    check(
        "Time(\"\", \"%Y\")",
        "error: Time: the text with the time is empty",
    );
    check(
        "Time(body, \"%Y\", \"No/Where\")",
        "fault: Time: unknown time zone \"No/Where\"",
    );
    check(
        "Time(body, \"%Y\", \"UTC\", \"pt_BR\")",
        "fault: Time: unsupported locale \"pt_BR\"; it must be a tag of BCP 47 such as \"pt-BR\"",
    );
    check(
        "Time(body, \"%Y2006\")",
        "fault: Time: the format must not contain digits",
    );
}

#[test]
fn leef_events() {
    check(
        "ParseLEEF(\"<13>host LEEF:1.0|Acme|Guard|3.1|login|src=10.0.0.1\\tuser=a b\\t=x\\tnone\\tsrc=2\")",
        "{version: \"1.0\", vendor: \"Acme\", product_name: \"Guard\", product_version: \"3.1\", event_id: \"login\", attributes: {src: \"2\", user: \"a b\"}}",
    );
    check(
        "ParseLEEF(\"LEEF:2.0|A|G|3|e|^|k=v^l=a=b\")[\"attributes\"]",
        "{k: \"v\", l: \"a=b\"}",
    );
    check(
        "ParseLEEF(\"LEEF:2.0|A|G|3|e|0x5e|k=v^l=|\")[\"attributes\"]",
        "{k: \"v\", l: \"|\"}",
    );
    check(
        "ParseLEEF(\"LEEF:2.0|A|G|3|e||k=v\")[\"attributes\"][\"k\"]",
        "\"v\"",
    );
    check("ParseLEEF(\"LEEF:1.0|A|G|3|e\")[\"attributes\"]", "{}");
    check(
        "ParseLEEF(\"CEF:0\")",
        "error: ParseLEEF: the text has no \"LEEF:\"",
    );
    check(
        "ParseLEEF(\"LEEF:3.0|A\")",
        "error: ParseLEEF: the version of LEEF must be 1.0 or 2.0",
    );
    check(
        "ParseLEEF(\"LEEF:1.0\")",
        "error: ParseLEEF: the header ends behind the version",
    );
    check(
        "ParseLEEF(\"LEEF:2.0|A|G|3|e\")",
        "error: ParseLEEF: the header of LEEF 2.0 has at least 5 fields",
    );
    check(
        "ParseLEEF(\"LEEF:2.0|A|G|3|e|0x5|k=v\")",
        "error: ParseLEEF: a delimiter in hexadecimal has two digits",
    );
    check(
        "ParseLEEF(attributes[\"i\"])",
        "error: ParseLEEF: expected string but got int64",
    );
}

#[test]
fn wrong_types_are_refused() {
    check(
        "HasAttrKeyOnDatapoint(\"s\")",
        "fault: the log context does not have the function \"HasAttrKeyOnDatapoint\"",
    );
    check(
        "HasAttrOnDatapoint(\"s\", \"x\")",
        "fault: the log context does not have the function \"HasAttrOnDatapoint\"",
    );
    check(
        "FNV(attributes[\"i\"])",
        "error: FNV: expected string but got int64",
    );
    check(
        "SHA1(attributes[\"i\"])",
        "error: SHA1: expected string but got int64",
    );
    check(
        "SHA256(attributes[\"i\"])",
        "error: SHA256: expected string but got int64",
    );
    check(
        "SHA512(attributes[\"i\"])",
        "error: SHA512: expected string but got int64",
    );
    check(
        "Murmur3Hash(attributes[\"i\"])",
        "error: Murmur3Hash: expected string but got int64",
    );
    check(
        "Murmur3Hash128(attributes[\"i\"])",
        "error: Murmur3Hash128: expected string but got int64",
    );
    check(
        "XXH3(attributes[\"i\"])",
        "error: XXH3: expected string but got int64",
    );
    check(
        "XXH128(attributes[\"i\"])",
        "error: XXH128: expected string but got int64",
    );
    check(
        "ToCamelCase(attributes[\"i\"])",
        "error: ToCamelCase: expected string but got int64",
    );
    check(
        "ToLowerCase(attributes[\"i\"])",
        "error: ToLowerCase: expected string but got int64",
    );
    check(
        "ToSnakeCase(attributes[\"i\"])",
        "error: ToSnakeCase: expected string but got int64",
    );
    check(
        "ToUpperCase(attributes[\"i\"])",
        "error: ToUpperCase: expected string but got int64",
    );
    check(
        "HasSuffix(attributes[\"i\"], \"x\")",
        "error: HasSuffix: expected string but got int64",
    );
    check(
        "Split(attributes[\"i\"], \"x\")",
        "error: Split: expected string but got int64",
    );
    check(
        "TrimPrefix(attributes[\"i\"], \"x\")",
        "error: TrimPrefix: expected string but got int64",
    );
    check(
        "TrimSuffix(attributes[\"i\"], \"x\")",
        "error: TrimSuffix: expected string but got int64",
    );
    check(
        "Trim(attributes[\"i\"], \"x\")",
        "error: Trim: expected string but got int64",
    );
    check(
        "Day(attributes[\"i\"])",
        "error: Day: expected time but got int64",
    );
    check(
        "Hour(attributes[\"i\"])",
        "error: Hour: expected time but got int64",
    );
    check(
        "Minute(attributes[\"i\"])",
        "error: Minute: expected time but got int64",
    );
    check(
        "Month(attributes[\"i\"])",
        "error: Month: expected time but got int64",
    );
    check(
        "Nanosecond(attributes[\"i\"])",
        "error: Nanosecond: expected time but got int64",
    );
    check(
        "Second(attributes[\"i\"])",
        "error: Second: expected time but got int64",
    );
    check(
        "Weekday(attributes[\"i\"])",
        "error: Weekday: expected time but got int64",
    );
    check(
        "UnixMicro(attributes[\"i\"])",
        "error: UnixMicro: expected time but got int64",
    );
    check(
        "UnixMilli(attributes[\"i\"])",
        "error: UnixMilli: expected time but got int64",
    );
    check(
        "UnixNano(attributes[\"i\"])",
        "error: UnixNano: expected time but got int64",
    );
    check(
        "UnixSeconds(attributes[\"i\"])",
        "error: UnixSeconds: expected time but got int64",
    );
    check(
        "TruncateTime(attributes[\"i\"], Duration(\"1s\"))",
        "error: TruncateTime: expected time but got int64",
    );
    check(
        "Hours(attributes[\"i\"])",
        "error: Hours: expected duration but got int64",
    );
    check(
        "Microseconds(attributes[\"i\"])",
        "error: Microseconds: expected duration but got int64",
    );
    check(
        "Milliseconds(attributes[\"i\"])",
        "error: Milliseconds: expected duration but got int64",
    );
    check(
        "Minutes(attributes[\"i\"])",
        "error: Minutes: expected duration but got int64",
    );
    check(
        "Nanoseconds(attributes[\"i\"])",
        "error: Nanoseconds: expected duration but got int64",
    );
    check(
        "Seconds(attributes[\"i\"])",
        "error: Seconds: expected duration but got int64",
    );
    check(
        "Keys(attributes[\"i\"])",
        "error: Keys: expected map but got int64",
    );
    check(
        "Values(attributes[\"i\"])",
        "error: Values: expected map but got int64",
    );
    check(
        "ToKeyValueString(attributes[\"i\"])",
        "error: ToKeyValueString: expected map but got int64",
    );
    check(
        "IsBool(attributes[\"s\"][\"x\"])",
        "error: IsBool: string does not support string indexing",
    );
    check(
        "IsDouble(attributes[\"s\"][\"x\"])",
        "error: IsDouble: string does not support string indexing",
    );
    check(
        "IsInt(attributes[\"s\"][\"x\"])",
        "error: IsInt: string does not support string indexing",
    );
    check(
        "IsList(attributes[\"s\"][\"x\"])",
        "error: IsList: string does not support string indexing",
    );
    check(
        "IsMap(attributes[\"s\"][\"x\"])",
        "error: IsMap: string does not support string indexing",
    );
    check(
        "IsString(attributes[\"s\"][\"x\"])",
        "error: IsString: string does not support string indexing",
    );
    check(
        "ProfileID(0x01)",
        "fault: ProfileID: an id has 16 bytes, or twice as many hexadecimal digits",
    );
    check(
        "Format(attributes[\"s\"], [])",
        "fault: argument \"format\" must be text in double quotes",
    );
    check(
        "String(attributes[\"s\"][\"x\"])",
        "error: String: string does not support string indexing",
    );
    check("UUID(1)", "fault: UUID takes at most 0 arguments but got 1");
    check("UUIDv7(1)", "fault: UUIDv7 takes at most 0 arguments but got 1");
}

#[test]
fn user_agents() {
    check(
        "UserAgent(\"curl/8.7.1\")",
        "{user_agent.name: \"curl\", user_agent.original: \"curl/8.7.1\", user_agent.version: \"8.7.1\", os.name: \"Other\"}",
    );
    check(
        "UserAgent(attributes[\"i\"])",
        "error: UserAgent: expected string but got int64",
    );
}

#[test]
fn grok() {
    check(
        "ExtractGrokPatterns(\"GET /a 200\", \"%{WORD:http.method} %{NOTSPACE:path} %{INT:code:int}\")",
        "{http.method: \"GET\", path: \"/a\", code: 200}",
    );
    check(
        "ExtractGrokPatterns(\"1.5 true x\", \"%{NUMBER:n:double} %{BOOL:b:boolean} %{WORD}\")",
        "{n: 1.5, BASE10NUM: \"1.5\", b: true, WORD: \"x\"}",
    );
    check(
        "ExtractGrokPatterns(\"1.5 true x\", \"%{NUMBER:n:float} %{BOOL:b:boolean} %{WORD}\", true)",
        "{n: 1.5, b: true}",
    );
    check(
        "ExtractGrokPatterns(\"id=ab12\", \"id=%{ID:id}\", true, [\"ID=[a-z]+%{NUM:num:int}\", \"NUM=[0-9]+\"])",
        "{id: \"ab12\", num: 12}",
    );
    check(
        "ExtractGrokPatterns(\"a b\", \"(?P<one>[a-z]) %{WORD:two}\", true)",
        "{one: \"a\", two: \"b\"}",
    );
    check("ExtractGrokPatterns(\"x\", \"%{INT:n}\")", "{}");
    check("ExtractGrokPatterns(\"a%{b\", \"a%{b\", false)", "{}");
    check(
        "ExtractGrokPatterns(\"127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] \\\"GET /apache_pb.gif HTTP/1.0\\\" 200 2326 \\\"http://a/b\\\" \\\"Mozilla/4.08\\\"\", \"%{COMBINEDAPACHELOG}\", true)",
        "{source.address: \"127.0.0.1\", user.name: \"frank\", timestamp: \"10/Oct/2000:13:55:36 -0700\", http.request.method: \"GET\", url.original: \"/apache_pb.gif\", http.version: \"1.0\", http.response.status_code: 200, http.response.body.size: 2326, http.request.referrer: \"http://a/b\", user_agent.original: \"Mozilla/4.08\"}",
    );
    check(
        "ExtractGrokPatterns(\"Jan  2 03:04:05 host prog[12]: text\", \"%{SYSLOGBASE} %{GREEDYDATA:message}\", true)",
        "{timestamp: \"Jan  2 03:04:05\", host.name: \"host\", message: \"text\"}",
    );
    check(
        "ExtractGrokPatterns(\"x\", \"%{NOTHING:n}\")",
        "fault: ExtractGrokPatterns: pattern definition \"NOTHING\" unknown",
    );
    check(
        "ExtractGrokPatterns(\"x\", \"%{WORD:n:date}\")",
        "fault: ExtractGrokPatterns: the type of n must be int, long, double, float, boolean or string, but is date",
    );
    check(
        "ExtractGrokPatterns(\"x\", \"%{WORD}\", true)",
        "fault: ExtractGrokPatterns: at least 1 named capture group must be supplied in the given pattern",
    );
    check(
        "ExtractGrokPatterns(\"x\", \"%{A}\", false, [\"A=%{B}\", \"B=%{A}\"])",
        "fault: ExtractGrokPatterns: pattern definitions name each other in a circle",
    );
    check(
        "ExtractGrokPatterns(\"x\", \"%{A}\", false, [\"A\"])",
        "fault: ExtractGrokPatterns: \"A\" is no definition, NAME=pattern",
    );
    check(
        "ExtractGrokPatterns(\"99999999999999999999\", \"%{INT:n:int}\")",
        "error: ExtractGrokPatterns: field n is no whole number",
    );
    check(
        "ExtractGrokPatterns(body, Concat([\"%{WORD:\", attributes[\"m\"][\"x\"], \"}\"], \"\"))",
        "{in: \"hello\"}",
    );
    check(
        "ExtractGrokPatterns(body, Concat([\"%{\", attributes[\"m\"][\"x\"], \"}\"], \"\"), true)",
        "error: ExtractGrokPatterns: pattern definition \"in\" unknown",
    );
    check(
        "ExtractGrokPatterns(body, attributes[\"i\"])",
        "error: ExtractGrokPatterns: expected string but got int64",
    );
    check(
        "ExtractGrokPatterns(attributes[\"i\"], \"%{WORD}\")",
        "error: ExtractGrokPatterns: expected string but got int64",
    );
}

#[test]
fn xml() {
    check(
        "ParseXML(\"<Log a=\\\"1\\\"><User id=\\\"7\\\">Ann<b>x</b></User><Text>hi &amp; ho</Text><Text></Text></Log>\")",
        "{tag: \"Log\", attributes: {a: \"1\"}, children: [{tag: \"User\", attributes: {id: \"7\"}, content: \"Ann\", children: [{tag: \"b\", content: \"x\"}]}, {tag: \"Text\", content: \"hi & ho\"}, {tag: \"Text\"}]}",
    );
    check(
        "ParseXML(\"<?xml version=\\\"1.0\\\"?><n:a n:k=\\\"v\\\"><!-- c --><![CDATA[<x>]]></n:a>\")",
        "{tag: \"a\", attributes: {k: \"v\"}, content: \"<x>\"}",
    );
    check(
        "ParseXML(\"<a></a><b></b>\")",
        "error: ParseXML: trailing bytes after parsing xml",
    );
    check(
        "ParseXML(\"<a><b></a>\")",
        "error: ParseXML: the XML closes an element that is not open",
    );
    check(
        "ParseXML(\"<a\")",
        "error: ParseXML: the XML has a tag that is no tag",
    );
    check(
        "ParseXML(\"<a>&what;</a>\")",
        "error: ParseXML: the XML has an unknown entity",
    );
    check(
        "ParseXML(attributes[\"i\"])",
        "error: ParseXML: expected string but got int64",
    );
    check(
        "ParseSimplifiedXML(\"<Log a=\\\"1\\\"><User id=\\\"7\\\">Ann<b>x</b></User><Text>hi &amp; ho</Text><Text></Text></Log>\")",
        "{Log: {User: {b: \"x\"}, Text: [\"hi & ho\"]}}",
    );
    check(
        "ParseSimplifiedXML(\"<a><b>1</b><b><c>2</c></b><d/></a>\")",
        "{a: {b: [\"1\", {c: \"2\"}]}}",
    );
    check(
        "ParseSimplifiedXML(\"<a><b>1</b>\")",
        "error: ParseSimplifiedXML: the XML ends within an element",
    );
    check(
        "GetXML(\"<Log a=\\\"1\\\"><User id=\\\"7\\\">Ann<b>x</b></User><Text>hi &amp; ho</Text><Text></Text></Log>\", \"/Log/User/@id\")",
        "\"7\"",
    );
    check(
        "GetXML(\"<Log a=\\\"1\\\"><User id=\\\"7\\\">Ann<b>x</b></User><Text>hi &amp; ho</Text><Text></Text></Log>\", \"//b\")",
        "\"<b>x</b>\"",
    );
    check(
        "GetXML(\"<Log a=\\\"1\\\"><User id=\\\"7\\\">Ann<b>x</b></User><Text>hi &amp; ho</Text><Text></Text></Log>\", \"//Text[1]/text()\")",
        "\"hi &amp; ho\"",
    );
    check(
        "GetXML(\"<Log a=\\\"1\\\"><User id=\\\"7\\\">Ann<b>x</b></User><Text>hi &amp; ho</Text><Text></Text></Log>\", \"//User[@id='7']/b | //Text[2]\")",
        "\"<b>x</b><Text></Text>\"",
    );
    check(
        "GetXML(\"<Log a=\\\"1\\\"><User id=\\\"7\\\">Ann<b>x</b></User><Text>hi &amp; ho</Text><Text></Text></Log>\", \"//*[contains(., 'ho') and not(@a)]\")",
        "\"<Text>hi &amp; ho</Text>\"",
    );
    check(
        "GetXML(\"<Log a=\\\"1\\\"><User id=\\\"7\\\">Ann<b>x</b></User><Text>hi &amp; ho</Text><Text></Text></Log>\", \"//Nothing\")",
        "\"\"",
    );
    check(
        "GetXML(\"<a><b>1</b><b>2</b><b>3</b></a>\", \"/a/b[. > 1][last()]/text()\")",
        "\"3\"",
    );
    check(
        "GetXML(\"<a/>\", \"/up::a\")",
        "fault: GetXML: there is no axis up in an XPath here",
    );
    check(
        "GetXML(\"<a/>\", \"/a[\")",
        "fault: GetXML: the XPath lacks a name before \"\"",
    );
    check(
        "GetXML(\"<a/>\", \"frob(a)\")",
        "fault: GetXML: there is no function frob() in XPath",
    );
    check(
        "RemoveXML(\"<Log a=\\\"1\\\"><User id=\\\"7\\\">Ann<b>x</b></User><Text>hi &amp; ho</Text><Text></Text></Log>\", \"//User\")",
        "\"<Log a=\\\"1\\\"><Text>hi &amp; ho</Text><Text></Text></Log>\"",
    );
    check(
        "RemoveXML(\"<a b=\\\"1\\\" c=\\\"2\\\">x<!--y--></a>\", \"//@b | //text() | //comment()\")",
        "\"<a c=\\\"2\\\"></a>\"",
    );
    check(
        "RemoveXML(\"x\", \"/a\")",
        "error: RemoveXML: the XML has text outside of all elements",
    );
    check(
        "InsertXML(\"<a><b/><b/></a>\", \"//b\", \"<c d=\\\"1\\\">2</c>\")",
        "\"<a><b><c d=\\\"1\\\">2</c></b><b><c d=\\\"1\\\">2</c></b></a>\"",
    );
    check(
        "InsertXML(\"<a b=\\\"1\\\"/>\", \"//@b\", \"<c/>\")",
        "error: InsertXML: InsertXML XPath selected non-element",
    );
    check(
        "ConvertAttributesToElementsXML(\"<a b=\\\"c\\\"/>\")",
        "\"<a><b>c</b></a>\"",
    );
    check(
        "ConvertAttributesToElementsXML(\"<a b=\\\"1\\\" c=\\\"2\\\"><d e=\\\"3\\\">x</d></a>\", \"/a/@*\")",
        "\"<a><d e=\\\"3\\\">x</d><b>1</b><c>2</c></a>\"",
    );
    check(
        "ConvertAttributesToElementsXML(\"<a\", \"/a/@*\")",
        "error: ConvertAttributesToElementsXML: the XML has a tag that is no tag",
    );
    check(
        "ConvertTextToElementsXML(\"<a><b/>x<c>y</c></a>\")",
        "\"<a><b></b><value>x</value><c>y</c></a>\"",
    );
    check(
        "ConvertTextToElementsXML(\"<a><b/>x</a>\", \"/a\", \"t\")",
        "\"<a><b></b><t>x</t></a>\"",
    );
    check(
        "ConvertTextToElementsXML(\"<a\")",
        "error: ConvertTextToElementsXML: the XML has a tag that is no tag",
    );
}

#[test]
fn patterns_are_those_of_go() {
    let refuses_pattern = |pattern: &str| {
        let found = value_of(Context::Log, 0, &format!("IsMatch(body, \"{pattern}\")"));
        let expected = "fault: the pattern supplied is not a valid regexp: error parsing regexp: ";
        assert!(found.starts_with(expected), "{pattern}: {found}");
    };
    check("IsMatch(\"٣\", \"^\\\\d$\")", "false");
    check("IsMatch(\"7\", \"^\\\\d$\")", "true");
    check("IsMatch(\"é\", \"^\\\\w$\")", "false");
    check("IsMatch(\"_\", \"^\\\\w$\")", "true");
    check("IsMatch(\" \", \"^\\\\s$\")", "false");
    check("IsMatch(\" \", \"^\\\\s$\")", "true");
    check("IsMatch(\"aé\", \"a\\\\b\")", "true");
    check("IsMatch(\"é\", \"\\\\b\")", "false");
    check("IsMatch(\"é\", \"^[[:alpha:]]$\")", "false");
    check("IsMatch(\"é\", \"^\\\\pL$\")", "true");
    check("IsMatch(\"é\", \"^\\\\p{Latin}$\")", "true");
    check("IsMatch(\"é\", \"^.$\")", "true");
    check("IsMatch(\"é\", \"^\\\\W$\")", "true");
    check("IsMatch(\"K\", \"(?i)^k$\")", "true");
    check("IsMatch(\"K\", \"(?i)^k$\")", "true");
    check("IsMatch(\"É\", \"(?i)^é$\")", "true");
    check("IsMatch(\"a.b\", \"^\\\\Qa.b\\\\E$\")", "true");
    check("IsMatch(\"axb\", \"^\\\\Qa.b\\\\E$\")", "false");
    check("IsMatch(\"ab\", \"^(?P<x>a)(?<y>b)$\")", "true");
    check("IsMatch(\"a\\nb\", \"^a$\")", "false");
    check("IsMatch(\"a\\nb\", \"(?m)^a$\")", "true");
    check("IsMatch(\"a\\nb\", \"a.b\")", "false");
    check("IsMatch(\"a\\nb\", \"(?s)a.b\")", "true");
    check("IsMatch(\"a\\n\", \"a$\")", "false");
    check("IsMatch(\"a\", \"\\\\Aa\\\\z\")", "true");
    check("ExtractPatterns(\"aab\", \"(?P<x>a|aa)\")", "{x: \"a\"}");
    check("ExtractPatterns(\"aab\", \"(?P<x>a+?)\")", "{x: \"a\"}");
    check("ExtractPatterns(\"aab\", \"(?U)(?P<x>a+)\")", "{x: \"a\"}");
    refuses_pattern("(?=a)");
    refuses_pattern("(?<!a)b");
    refuses_pattern("(a)\\\\1");
    refuses_pattern("(");
    refuses_pattern("[b-a]");
    refuses_pattern("\\\\8");
}
