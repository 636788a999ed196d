use super::*;

#[test]
fn patchs_complaints_are_understood() {
    let failed = "patching file src/a.c\nHunk #1 succeeded at 3 (offset 1 line).\nHunk #2 FAILED at 40.\n1 out of 2 hunks FAILED\n";
    assert_eq!(
        blame(failed),
        (Some("src/a.c".into()), Some("#2 at line 40".into()))
    );
    let absent = "can't find file to patch at input line 3\nPerhaps you used the wrong -p or --strip option?\nThe text leading up to this was:\n--------------------------\n|--- a/src/gone.c\n|+++ b/src/gone.c\n--------------------------\n";
    assert_eq!(blame(absent), (Some("src/gone.c".into()), None));
    assert_eq!(
        blame("Only garbage was found in the patch input.\n"),
        (None, None)
    );
}
