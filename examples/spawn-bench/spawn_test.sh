# SPDX-License-Identifier: BSD-2-Clause

for how in fork vfork posix_spawn loop; do
	atf_test_case $how
	eval "${how}_body() {
		atf_check -o match:'^fallout-bench: [0-9]+ ns' \"\$(atf_get_srcdir)/spawn-bench\" $how 2
	}"
done

atf_init_test_cases() {
	for how in fork vfork posix_spawn loop; do
		atf_add_test_case $how
	done
}
