use super::*;

const TERM: Term = Term(7);
const WALL: WallMs = WallMs::new(1_733_511_234_567);

fn alice() -> Username {
    Username::parse("alice").unwrap()
}

fn image(number: u128) -> ListedImage {
    ListedImage { name: ImageName::new(number, 1, ImageKind::Png), bytes: 100 }
}

fn names(listing: &[ListedImage]) -> Vec<String> {
    listing.iter().map(|image| image.name.to_string()).collect()
}

/// A cache with a listing of alice's folder, which was started at 0.
fn listed(images: &[ListedImage]) -> ListingCache {
    let mut cache = ListingCache::new(Duration::ZERO);
    let started = cache.start(&alice(), TERM, BootMs(0));
    cache.finish(&alice(), started, images.to_vec());
    cache
}

/// Starts an upload of 100 bytes without quotas.
fn start_upload(cache: &mut ListingCache, known: &Listing, now: BootMs) -> ImageName {
    upload_within(cache, known, now, Quotas::default()).unwrap()
}

fn upload_within(
    cache: &mut ListingCache,
    known: &Listing,
    now: BootMs,
    quotas: Quotas,
) -> Result<ImageName, QuotaExceeded> {
    let image = NewImage { bytes: 100, kind: ImageKind::Png, suffix: 9 };
    cache.start_upload(&alice(), known, image, &quotas, (now, WALL))
}

fn get(cache: &mut ListingCache, now: u64) -> Option<Listing> {
    cache.get(&alice(), TERM, BootMs(now))
}

#[test]
fn a_listing_is_cached_for_a_minute_in_its_term() {
    let mut cache = listed(&[image(2), image(1)]);
    assert_eq!(names(&get(&mut cache, TTL_MS - 1).unwrap()), names(&[image(1), image(2)]));
    assert_eq!(get(&mut cache, TTL_MS), None);
    assert_eq!(cache.get(&Username::parse("bob").unwrap(), TERM, BootMs(0)), None);
    let mut cache = listed(&[image(1)]);
    assert_eq!(cache.get(&alice(), Term(8), BootMs(0)), None);
    assert_eq!(get(&mut cache, 0), None, "a change of the term empties the cache");
}

#[test]
fn a_listing_from_before_the_deadline_of_an_earlier_leaders_write_expires_at_it() {
    let mut cache = ListingCache::new(Duration::from_secs(5));
    let mut list = |at: u64| {
        let now = BootMs(at);
        let is_cached = cache.get(&alice(), TERM, now).is_some();
        if !is_cached {
            let started = cache.start(&alice(), TERM, now);
            cache.finish(&alice(), started, vec![image(1)]);
        }
        is_cached
    };
    let times = [1000, 1001, 5999, 6000, 6001, 6000 + TTL_MS - 1, 6000 + TTL_MS];
    assert_eq!(times.map(&mut list), [false, true, true, false, true, true, false]);
    // The next term begins with its first use.
    assert!(cache.get(&alice(), Term(8), BootMs(100_000)).is_none());
    let started = cache.start(&alice(), Term(8), BootMs(100_001));
    cache.finish(&alice(), started, vec![image(1)]);
    assert!(cache.get(&alice(), Term(8), BootMs(104_999)).is_some());
    assert!(cache.get(&alice(), Term(8), BootMs(105_000)).is_none());
}

#[test]
fn an_upload_is_in_the_cached_listing_once_it_is_stored() {
    let mut cache = listed(&[image(1)]);
    let known = get(&mut cache, 0).unwrap();
    let name = start_upload(&mut cache, &known, BootMs(10));
    assert_eq!(names(&get(&mut cache, 10).unwrap()), names(&[image(1)]));
    let new = ListedImage { name, bytes: 100 };
    cache.stored(&alice(), new.clone(), BootMs(10));
    assert_eq!(names(&get(&mut cache, 10).unwrap()), names(&[image(1), new]));
}

#[test]
fn a_listing_that_started_before_an_upload_ended_has_the_image() {
    let mut cache = listed(&[]);
    let known = get(&mut cache, 0).unwrap();
    let name = start_upload(&mut cache, &known, BootMs(TTL_MS - 1));
    let started = cache.start(&alice(), TERM, BootMs(TTL_MS));
    let new = ListedImage { name, bytes: 100 };
    cache.stored(&alice(), new.clone(), BootMs(TTL_MS - 1));
    // The bucket was read before the image was in it.
    let listing = cache.finish(&alice(), started, vec![image(1)]);
    assert_eq!(names(&listing), names(&[image(1), new.clone()]));
    assert_eq!(names(&get(&mut cache, TTL_MS).unwrap()), names(&[image(1), new.clone()]));
    // A minute later only the bucket counts: an operator may have deleted the image.
    let started = cache.start(&alice(), TERM, BootMs(2 * TTL_MS));
    assert_eq!(names(&cache.finish(&alice(), started, vec![image(1)])), names(&[image(1)]));
}

#[test]
fn a_listing_whose_entry_was_removed_meanwhile_is_not_cached() {
    let mut cache = listed(&[]);
    let started = cache.start(&alice(), TERM, BootMs(1));
    cache.get(&alice(), Term(8), BootMs(2));
    let newer = cache.start(&alice(), Term(8), BootMs(3));
    assert_eq!(names(&cache.finish(&alice(), started, vec![image(1)])), names(&[image(1)]));
    assert_eq!(cache.get(&alice(), Term(8), BootMs(4)), None, "it is a listing of another term");
    cache.finish(&alice(), newer, vec![image(2)]);
    assert_eq!(names(&cache.get(&alice(), Term(8), BootMs(4)).unwrap()), names(&[image(2)]));
}

#[test]
fn each_new_image_comes_after_those_in_the_folder_and_those_in_progress() {
    let mut cache = listed(&[image(2_000_000_000)]);
    let known = get(&mut cache, 0).unwrap();
    let numbers: Vec<_> = (0..3).map(|_| start_upload(&mut cache, &known, BootMs(0)).number()).collect();
    assert_eq!(numbers, [2_000_000_001, 2_000_000_002, 2_000_000_003].map(Some));
}

#[test]
fn a_user_has_as_many_images_as_the_quota_and_uploads_in_progress_count() {
    let quotas = Quotas { images_per_user: Some(3), ..Quotas::default() };
    let mut cache = listed(&[image(1)]);
    let known = get(&mut cache, 0).unwrap();
    let second = upload_within(&mut cache, &known, BootMs(0), quotas).unwrap();
    let third = upload_within(&mut cache, &known, BootMs(0), quotas).unwrap();
    let refused = upload_within(&mut cache, &known, BootMs(0), quotas);
    assert_eq!(refused, Err(QuotaExceeded::Images { user: alice(), images: 3, max: 3 }));
    cache.stored(&alice(), ListedImage { name: second, bytes: 100 }, BootMs(0));
    assert!(upload_within(&mut cache, &known, BootMs(0), quotas).is_err(), "a stored image counts once");
    cache.stored_nothing(&alice(), &third);
    assert!(upload_within(&mut cache, &known, BootMs(0), quotas).is_ok());
}

#[test]
fn the_bytes_of_a_users_images_have_a_quota() {
    for (max, is_accepted) in [(300, true), (299, false)] {
        let quotas = Quotas { image_bytes_per_user: Some(max), ..Quotas::default() };
        let mut cache = listed(&[image(1), image(2)]);
        let known = get(&mut cache, 0).unwrap();
        let uploaded = upload_within(&mut cache, &known, BootMs(0), quotas);
        assert_eq!(uploaded.is_ok(), is_accepted, "{uploaded:?}");
        if let Err(error) = uploaded {
            assert_eq!(error, QuotaExceeded::ImageBytes { user: alice(), bytes: 300, max });
        }
    }
}

#[test]
fn an_upload_of_unknown_end_counts_until_a_later_listing() {
    let quotas = Quotas { images_per_user: Some(1), ..Quotas::default() };
    let mut cache = listed(&[]);
    let known = get(&mut cache, 0).unwrap();
    let name = upload_within(&mut cache, &known, BootMs(0), quotas).unwrap();
    cache.unknown(&alice(), &name);
    assert!(get(&mut cache, 0).unwrap().is_empty(), "it is not listed");
    for (at, is_accepted) in [(TTL_MS - 1, false), (TTL_MS, true)] {
        let started = cache.start(&alice(), TERM, BootMs(at));
        let known = cache.finish(&alice(), started, Vec::new());
        assert_eq!(upload_within(&mut cache, &known, BootMs(at), quotas).is_ok(), is_accepted, "at {at}");
    }
}

#[test]
fn a_stored_image_stays_stored_when_its_upload_is_dropped() {
    let mut cache = listed(&[]);
    let known = get(&mut cache, 0).unwrap();
    let name = start_upload(&mut cache, &known, BootMs(0));
    cache.stored(&alice(), ListedImage { name: name.clone(), bytes: 100 }, BootMs(0));
    cache.unknown(&alice(), &name);
    let started = cache.start(&alice(), TERM, BootMs(1));
    assert_eq!(cache.finish(&alice(), started, Vec::new()).len(), 1);
}

#[test]
fn the_memory_of_the_cache_is_bounded() {
    // Ten images take about 1700 bytes.
    let mut cache = ListingCache::with_max_cost(10_000, Duration::ZERO);
    let images: Vec<ListedImage> = (0..10).map(image).collect();
    let user = |n: u32| Username::parse(&format!("u{n}")).unwrap();
    for n in 0..20 {
        let started = cache.start(&user(n), TERM, BootMs(0));
        cache.finish(&user(n), started, images.clone());
    }
    assert!(cache.get(&user(19), TERM, BootMs(0)).is_some());
    let cached = (0..20).filter(|n| cache.get(&user(*n), TERM, BootMs(0)).is_some()).count();
    assert!((4..=6).contains(&cached), "{cached}");
    // A folder that is larger than the cache is listed each time.
    let many: Vec<ListedImage> = (0..100).map(image).collect();
    let started = cache.start(&alice(), TERM, BootMs(0));
    assert_eq!(cache.finish(&alice(), started, many).len(), 100);
    assert_eq!(get(&mut cache, 0), None);
}
