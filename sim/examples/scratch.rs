//! scratch
#![allow(clippy::all)]
use sluice_sim::formal::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let n = |i: usize, d: u8| -> u8 { a.get(i).and_then(|x| x.parse().ok()).unwrap_or(d) };
    let mask = |s: &str| -> u8 { match s { "a" => 1, "b" => 2, _ => 3 } };
    // flight open dups unknowns crashes ends audits passes owners wants
    let owners: Vec<Option<u8>> = a.get(9).map(|s| s.chars().map(|c| match c { '0' => Some(0), '1' => Some(1), _ => None }).collect()).unwrap_or(vec![Some(0), Some(0), Some(1)]);
    let w: Vec<&str> = a.get(10).map(|s| s.split(',').collect()).unwrap_or(vec!["ab","ab","ab"]);
    let wants: Vec<[u8;2]> = w.iter().map(|s| { let mut p = s.split(':'); let x = mask(p.next().unwrap()); let y = p.next().map(mask).unwrap_or(x); [x,y] }).collect();
    let without = a.get(11).and_then(|s| Without::ALL.into_iter().find(|w| format!("{w:?}") == *s));
    let limits = a.get(12).map(|s| { let v: Vec<usize> = s.split(',').map(|x| x.parse().unwrap()).collect(); [v[0], v[1]] }).unwrap_or([1,1]);
    let c = Config { name: "scratch", owners: owners.try_into().unwrap(), wants: wants.try_into().unwrap(), limits,
        split_passes: a.get(13).is_some(), flight_max: n(1,2) as usize, open_max: n(2,1) as usize,
        budget: Budget { duplicates: n(3,0), unknowns: n(4,0), crashes: n(5,0), ends: n(6,0), audits: n(7,0), passes: n(8,0) }, without };
    let t = std::time::Instant::now();
    let r = check_config(&c);
    print!("{r}");
    println!("reached {:?} in {:?}", r.reached, t.elapsed());
}
