# SPDX-License-Identifier: BSD-2-Clause


atf_test_case sums
sums_head() {
	atf_set "descr" "Both sums of a file"
}
sums_body() {
	printf '123456789' >data
	atf_check -o inline:'cbf43926\n' -x "$(atf_get_srcdir)/pt crc data"
	atf_check -o inline:'f62a\n' -x "$(atf_get_srcdir)/pt sum data"
}

atf_test_case crc_as_gzip
crc_as_gzip_head() {
	atf_set "descr" "gzip's trailer holds the same sum, lowest byte first"
	atf_set "require.progs" "gzip tail od"
}
crc_as_gzip_body() {
	echo "a line that is compressed" >data
	gzip -c data | tail -c 8 | od -An -tx1 >trailer
	read -r a b c d rest <trailer
	atf_check -o inline:"$d$c$b$a\n" "$(atf_get_srcdir)/pt" crc data
}

atf_test_case hex
hex_body() {
	atf_check -o inline:'68c3a9\n' "$(atf_get_srcdir)/pt" hex 'hé'
	atf_check -o inline:'hé' "$(atf_get_srcdir)/pt" unhex 68C3a9
}

atf_test_case unhex_rejects
unhex_rejects_body() {
	atf_check -s exit:1 -e match:'not a string of hex' "$(atf_get_srcdir)/pt" unhex '0:'
	atf_check -s exit:1 -e match:'not a string of hex' "$(atf_get_srcdir)/pt" unhex '0'
}

atf_test_case sizes
sizes_body() {
	atf_check -o inline:'1.5MiB\n' "$(atf_get_srcdir)/pt" size 1536KiB
	atf_check -s exit:1 -e match:'not a size' "$(atf_get_srcdir)/pt" size 1.5MiB
}

atf_test_case usage
usage_body() {
	atf_check -s exit:2 -e match:'^usage: pt' "$(atf_get_srcdir)/pt"
	atf_check -s exit:2 -e match:'^usage: pt' "$(atf_get_srcdir)/pt" frobnicate all
}

atf_init_test_cases() {
	atf_add_test_case sums
	atf_add_test_case crc_as_gzip
	atf_add_test_case hex
	atf_add_test_case unhex_rejects
	atf_add_test_case sizes
	atf_add_test_case usage
}
