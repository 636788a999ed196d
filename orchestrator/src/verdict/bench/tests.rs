use super::simulate::{Noise, trials};
use super::*;

#[test]
fn identical_variants_are_hardly_ever_called_different() {
    let noises = [
        Noise::Normal(0.03),
        Noise::Outliers(0.03),
        Noise::Cauchy(0.03),
        Noise::Drift(0.03, 0.02),
        Noise::Count(0.000_034),
    ];
    for (seed, noise) in noises.into_iter().enumerate() {
        let (slower, faster) = trials(noise, 1.0, 10, 60, seed as u64);
        // Of 60 with a chance of 0.4% each, more than three is less than one in ten thousand.
        assert!(slower + faster <= 3, "{noise:?}: {slower} and {faster}");
    }
}

#[test]
fn a_thousandth_shows_in_ten_pairs_of_counts_and_drowns_in_time() {
    let (slower, _) = trials(Noise::Count(0.000_034), 1.001, 10, 20, 1);
    assert_eq!(slower, 20);
    let (slower, faster) = trials(Noise::Normal(0.03), 1.001, 10, 20, 1);
    assert!(slower + faster <= 2);
}

#[test]
fn the_exact_cut_agrees_with_the_tables() {
    // Ten values: a sum of ranks of 1 or less in 2 of 1024 ways; nine: 0 or 1 in 2 of 512.
    assert_eq!(rank_cut(10), Some(1));
    assert_eq!(rank_cut(LEAST_PAIRS), Some(0));
    assert_eq!(rank_cut(LEAST_PAIRS - 1), None);
    // From the exact distribution to the normal one there is no jump.
    let (exact, normal) = (rank_cut(60).unwrap(), rank_cut(61).unwrap());
    assert!(normal > exact && normal - exact < 40, "{exact} {normal}");
}

#[test]
fn sentences() {
    let constant = |ratio: f64, n: usize| vec![(1e9, 1e9 * ratio); n];
    let say = |pairs: &[(f64, f64)], what| compare(pairs, 1).sentence("A", "B", what);
    insta::assert_snapshot!(say(&constant(1.001, 10), "instructions"), @"B takes more instructions than A: by 0.100% ± 0% (99.5%, 10 pairs)");
    insta::assert_snapshot!(say(&constant(0.8, 12), "time"), @"B is faster than A: by 20.0% ± 0% (99.5%, 12 pairs)");
    insta::assert_snapshot!(say(&constant(1.0, 10), "time"), @"no difference between A and B larger than 0% could hide (99.5%, 10 pairs)");
    insta::assert_snapshot!(say(&constant(2.0, 4), "time"), @"4 pairs tell nothing about A and B: at least 9 are needed");
    let noisy: Vec<(f64, f64)> = (0..20)
        .map(|i| (1.0 + 0.02 * f64::from(i % 3), 1.0 + 0.02 * f64::from(i % 4)))
        .collect();
    let noisy = say(&noisy, "time");
    assert!(
        noisy.starts_with("no difference between A and B larger than "),
        "{noisy}"
    );
    assert!(noisy.contains(" more pairs would show "), "{noisy}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]
    #[test]
    fn comparison_is_total(pairs in proptest::collection::vec((-1.0..1e9_f64, 0.0..1e9_f64), 0..40)) {
        let c = compare(&pairs, 1);
        proptest::prop_assert!(c.low <= c.percent + 1e-9 && c.percent <= c.high + 1e-9);
        proptest::prop_assert!(!c.sentence("a", "b", "time").is_empty());
    }
}
