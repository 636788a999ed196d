# SPDX-License-Identifier: BSD-2-Clause

atf_test_case sweep
sweep_head() {
	atf_set "descr" "Nobody here marks a hint to be kept, so a sweep keeps none"
}
sweep_body() {
	atf_check -o inline:'0 kept\n' "$(atf_get_srcdir)/pt" sweep
}

atf_test_case note_and_look
note_and_look_body() {
	PT_HINTS=$(pwd)/hints
	export PT_HINTS
	atf_check -s exit:1 -e match:'no such hint' "$(atf_get_srcdir)/pt" look lines
	atf_check "$(atf_get_srcdir)/pt" note lines 12345678901234
	atf_check -o inline:'12345678901234\n' "$(atf_get_srcdir)/pt" look lines
}

atf_test_case replace_while_read cleanup
replace_while_read_head() {
	atf_set "descr" "A reader sees the old text or the new, never a part"
	atf_set "timeout" "120"
	atf_set "require.progs" "sleep"
}
replace_while_read_body() {
	atf_check "$(atf_get_srcdir)/pt" put file aaaaaaaa
	(
		while :; do
			"$(atf_get_srcdir)/pt" put file bbbbbbbb
			"$(atf_get_srcdir)/pt" put file aaaaaaaa
		done
	) &
	echo $! >writer.pid
	n=0
	while [ $n -lt 20 ]; do
		read -r text <file || [ -n "$text" ]
		case $text in
		aaaaaaaa|bbbbbbbb) ;;
		*) atf_fail "read '$text'" ;;
		esac
		n=$((n + 1))
	done
}
replace_while_read_cleanup() {
	[ -f writer.pid ] && kill "$(cat writer.pid)"
	:
}

atf_test_case unreadable
unreadable_head() {
	atf_set "descr" "A file of somebody else cannot be flushed"
	atf_set "require.user" "unprivileged"
}
unreadable_body() {
	: >file
	chmod 0 file
	atf_check -s exit:1 -e match:'cannot flush' "$(atf_get_srcdir)/pt" flush file
}

atf_init_test_cases() {
	atf_add_test_case note_and_look
	atf_add_test_case replace_while_read
	atf_add_test_case sweep
	atf_add_test_case unreadable
}
