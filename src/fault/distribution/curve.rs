//! The bell curve in both directions.

/// The place below which a share of the bell curve lies. `0 < share < 1`
///
/// By P. J. Acklam's approximation, with a relative error below 1.2e-9.
pub(super) fn normal_quantile(share: f64) -> f64 {
    if share < LOW {
        tail((-2.0 * share.ln()).sqrt())
    } else if share > 1.0 - LOW {
        -tail((-2.0 * (1.0 - share).ln()).sqrt())
    } else {
        let q = share - 0.5;
        let r = q * q;
        polynomial(&MIDDLE_TOP, r) * q / polynomial(&MIDDLE_BOTTOM, r)
    }
}

/// The share of the bell curve below a place, always above 0 and below 1.
///
/// By the approximation `erfcc` of "Numerical Recipes", with a relative error below 1.2e-7 in the tail.
pub(super) fn normal_share(place: f64) -> f64 {
    let x = place.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * x);
    let beyond = 0.5 * t * (-x * x + polynomial(&TAIL_SHARE, t)).exp();
    let share = if place < 0.0 { beyond } else { 1.0 - beyond };
    share.clamp(f64::MIN_POSITIVE, 1.0 - f64::EPSILON)
}

fn tail(q: f64) -> f64 {
    polynomial(&TAIL_TOP, q) / polynomial(&TAIL_BOTTOM, q)
}

/// Coefficients from the highest power to the lowest.
fn polynomial(coefficients: &[f64], x: f64) -> f64 {
    coefficients.iter().fold(0.0, |sum, c| sum * x + c)
}

/// Below this share, and above 1 less it, the tail's formula holds.
const LOW: f64 = 0.02425;

const MIDDLE_TOP: [f64; 6] = [
    -3.969_683_028_665_376e1,
    2.209_460_984_245_205e2,
    -2.759_285_104_469_687e2,
    1.383_577_518_672_69e2,
    -3.066_479_806_614_716e1,
    2.506_628_277_459_239,
];

const MIDDLE_BOTTOM: [f64; 6] = [
    -5.447_609_879_822_406e1,
    1.615_858_368_580_409e2,
    -1.556_989_798_598_866e2,
    6.680_131_188_771_972e1,
    -1.328_068_155_288_572e1,
    1.0,
];

const TAIL_TOP: [f64; 6] = [
    -7.784_894_002_430_293e-3,
    -3.223_964_580_411_365e-1,
    -2.400_758_277_161_838,
    -2.549_732_539_343_734,
    4.374_664_141_464_968,
    2.938_163_982_698_783,
];

const TAIL_BOTTOM: [f64; 5] = [
    7.784_695_709_041_462e-3,
    3.224_671_290_700_398e-1,
    2.445_134_137_142_996,
    3.754_408_661_907_416,
    1.0,
];

const TAIL_SHARE: [f64; 10] = [
    0.170_872_77,
    -0.822_152_23,
    1.488_515_87,
    -1.135_203_98,
    0.278_868_07,
    -0.186_288_06,
    0.096_784_18,
    0.374_091_96,
    1.000_023_68,
    -1.265_512_23,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// From tables of the normal distribution.
    const KNOWN: [(f64, f64); 6] = [
        (0.5, 0.0),
        (0.841_344_746_068_543, 1.0),
        (0.977_249_868_051_821, 2.0),
        (0.99, 2.326_347_874_040_841),
        (0.000_031_671_241_833_119_9, -4.0),
        (0.975, 1.959_963_984_540_054),
    ];

    #[test]
    fn both_directions_give_what_tables_give() {
        for (share, place) in KNOWN {
            assert!((normal_quantile(share) - place).abs() < 1e-8, "{share}");
            assert!((normal_share(place) - share).abs() < 2e-7, "{place}");
        }
    }

    #[test]
    fn each_direction_undoes_the_other() {
        for step in 1..1000 {
            let share = f64::from(step) / 1000.0;
            assert!((normal_share(normal_quantile(share)) - share).abs() < 3e-7);
        }
        for place in [-40.0, 40.0] {
            let share = normal_share(place);
            assert!(0.0 < share && share < 1.0);
            assert!(normal_quantile(share).is_finite());
        }
    }
}
