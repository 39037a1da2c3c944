/* dicom_plan.cc - an RTPLAN becomes a prescription and beams with one row a control point.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dicom_impl.h"

#include <cmath>
#include <limits>
#include <string.h>

namespace dicom
{

static const double UNKNOWN = std::numeric_limits<double>::quiet_NaN();
static const char NUMBER[] = "rtplan-number";

/* The value, `fallback` when absent; refuses what is no number. */
static double number_or(DcmItem &item, const DcmTagKey &tag, const char *name, double fallback)
{
    double value;
    switch (number_of(item, tag, &value)) {
    case Found::ABSENT: return fallback;
    case Found::BAD: refuse(DG_ERR_DATA, NUMBER, "%s is no number: export the plan again", name);
    case Found::GOOD: break;
    }
    if (std::fabs(value) > 1e7) refuse(DG_ERR_DATA, NUMBER, "%s is %.4g, which no plan has", name, value);
    return value;
}

/* Arrays of one beam, grown before they are handed over as one block. */
struct Beam {
    dg_dicom_beam plain;
    std::vector<double> gantry, weight, rate, jaw[4], mlc, boundaries;
    double jaw_now[4] = {UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN};
    double gantry_now = UNKNOWN, rate_now = UNKNOWN;
    std::string mlc_device; /* its type as the device says it */
    std::vector<double> mlc_now;
};

struct Plan {
    dg_dicom_context *context;
    std::vector<Beam> beams;
    std::vector<dg_dicom_target> targets;
    dg_dicom_plan plain = dg_dicom_plan();
    double beam_dose_gy = 0;
    bool has_beam_dose = false;
    int64_t values = 0; /* dg_dicom_beam_values of the beams so far */
};

/* x1, x2, y1, y2 begin at 0 and 2; -1: an MLC or another device. */
static int jaw_of(const std::string &type)
{
    if (type == "X" || type == "ASYMX") return 0;
    if (type == "Y" || type == "ASYMY") return 2;
    return -1;
}

static bool is_mlc(const std::string &type) { return type.find("MLC") != std::string::npos; }

static void read_devices(DcmItem &item, Beam &beam)
{
    for (DcmItem *device : items_of(item, DCM_BeamLimitingDeviceSequence)) {
        const std::string type = text_of(*device, DCM_RTBeamLimitingDeviceType);
        if (!is_mlc(type) || !beam.mlc_device.empty()) continue;
        const double pairs = number_or(*device, DCM_NumberOfLeafJawPairs, "NumberOfLeafJawPairs", 0);
        if (pairs < 1 || pairs > DG_DICOM_LEAVES_MAX || pairs != std::floor(pairs))
            refuse(DG_ERR_DATA, "rtplan-leaves", "an MLC has %.4g leaf pairs: 1 .. %d are possible", pairs,
                   (int)DG_DICOM_LEAVES_MAX);
        beam.mlc_device = type;
        copy_code(beam.plain.mlc_type, type);
        beam.plain.leaf_pairs = (int64_t)pairs;
        const Found found = numbers_of(*device, DCM_LeafPositionBoundaries, beam.boundaries);
        if (found == Found::BAD || (found == Found::GOOD && beam.boundaries.size() != (size_t)pairs + 1))
            refuse(DG_ERR_DATA, "rtplan-leaves", "LeafPositionBoundaries are no %.0f numbers: export the plan again",
                   pairs + 1);
    }
}

/* Positions of one control point; what it leaves out stays as it was. */
static void read_positions(DcmItem &point, Beam &beam)
{
    for (DcmItem *item : items_of(point, DCM_BeamLimitingDevicePositionSequence)) {
        const std::string type = text_of(*item, DCM_RTBeamLimitingDeviceType);
        const int jaw = jaw_of(type);
        std::vector<double> values;
        if (jaw < 0 && (!is_mlc(type) || type != beam.mlc_device)) continue;
        const Found found = numbers_of(*item, DCM_LeafJawPositions, values);
        if (found == Found::ABSENT) continue;
        const size_t wanted = jaw >= 0 ? 2 : (size_t)beam.plain.leaf_pairs * 2;
        if (found == Found::BAD || values.size() != wanted)
            refuse(DG_ERR_DATA, "rtplan-leaves",
                   "LeafJawPositions of beam number %d are no %zu numbers: export the plan again",
                   (int)beam.plain.number, wanted);
        for (double value : values)
            if (std::fabs(value) > 1e4)
                refuse(DG_ERR_DATA, NUMBER, "a leaf or jaw of beam number %d stands at %.4g mm", (int)beam.plain.number,
                       value);
        if (jaw >= 0)
            std::copy(values.begin(), values.end(), beam.jaw_now + jaw);
        else
            beam.mlc_now = values;
    }
}

static void read_point(DcmItem &point, Beam &beam)
{
    beam.gantry_now = number_or(point, DCM_GantryAngle, "GantryAngle", beam.gantry_now);
    beam.rate_now = number_or(point, DCM_DoseRateSet, "DoseRateSet", beam.rate_now);
    read_positions(point, beam);
    beam.gantry.push_back(beam.gantry_now);
    beam.rate.push_back(beam.rate_now);
    beam.weight.push_back(number_or(point, DCM_CumulativeMetersetWeight, "CumulativeMetersetWeight", UNKNOWN));
    for (int k = 0; k < 4; k++) beam.jaw[k].push_back(beam.jaw_now[k]);
    if (beam.plain.leaf_pairs == 0) return;
    if (beam.mlc_now.empty()) beam.mlc_now.assign((size_t)beam.plain.leaf_pairs * 2, UNKNOWN);
    beam.mlc.insert(beam.mlc.end(), beam.mlc_now.begin(), beam.mlc_now.end());
}

static void read_first_point(DcmItem &point, dg_dicom_beam &plain)
{
    std::vector<double> isocenter;
    copy_code(plain.rotation, text_of(point, DCM_GantryRotationDirection));
    plain.collimator_deg = number_or(point, DCM_BeamLimitingDeviceAngle, "BeamLimitingDeviceAngle", UNKNOWN);
    plain.couch_deg = number_or(point, DCM_PatientSupportAngle, "PatientSupportAngle", UNKNOWN);
    plain.energy = number_or(point, DCM_NominalBeamEnergy, "NominalBeamEnergy", UNKNOWN);
    if (numbers_of(point, DCM_IsocenterPosition, isocenter) == Found::GOOD && isocenter.size() == 3)
        std::copy(isocenter.begin(), isocenter.end(), plain.isocenter_mm);
}

static void read_beam(DcmItem &item, Beam &beam, Plan &plan)
{
    dg_dicom_beam &plain = beam.plain;
    plain = dg_dicom_beam();
    plain.meterset_mu = plain.dose_gy = plain.collimator_deg = plain.couch_deg = plain.energy = UNKNOWN;
    for (double &value : plain.isocenter_mm) value = UNKNOWN;
    const double number = number_or(item, DCM_BeamNumber, "BeamNumber", -1);
    if (number != std::floor(number)) refuse(DG_ERR_DATA, NUMBER, "a BeamNumber is %.4g, no whole number", number);
    plain.number = (int32_t)number;
    copy_text(plain.name, sizeof plain.name, text_of(item, DCM_BeamName));
    copy_code(plain.type, text_of(item, DCM_BeamType));
    copy_code(plain.radiation, text_of(item, DCM_RadiationType));
    copy_code(plain.delivery, text_of(item, DCM_TreatmentDeliveryType));
    plain.final_weight = number_or(item, DCM_FinalCumulativeMetersetWeight, "FinalCumulativeMetersetWeight", UNKNOWN);
    read_devices(item, beam);
    const std::vector<DcmItem *> points = items_of(item, DCM_ControlPointSequence);
    const double said = number_or(item, DCM_NumberOfControlPoints, "NumberOfControlPoints", (double)points.size());
    if (points.size() > DG_DICOM_POINTS_MAX || said != (double)points.size())
        refuse(DG_ERR_DATA, "rtplan-control-points", "beam number %d says %.0f control points and has %zu (%d at most)",
               (int)plain.number, said, points.size(), (int)DG_DICOM_POINTS_MAX);
    plan.values += dg_dicom_beam_values((int64_t)points.size(), plain.leaf_pairs);
    if (plan.values > DG_DICOM_PLAN_VALUES_MAX)
        refuse(DG_ERR_DATA, "rtplan-control-points",
               "the control points of all beams have more than %d numbers, which no plan has",
               (int)DG_DICOM_PLAN_VALUES_MAX);
    for (size_t k = 0; k < points.size(); k++) {
        if (k == 0) read_first_point(*points[0], plain);
        read_point(*points[k], beam);
    }
    plain.control_points = (int64_t)points.size();
}

/* MU and dose of the beams, fractions. */
static void read_groups(DcmItem &item, Plan &plan)
{
    for (DcmItem *group : items_of(item, DCM_FractionGroupSequence)) {
        double dose = 0;
        const double fractions = number_or(*group, DCM_NumberOfFractionsPlanned, "NumberOfFractionsPlanned", 0);
        if (fractions < 0 || fractions > 1000 || fractions != std::floor(fractions))
            refuse(DG_ERR_DATA, NUMBER, "NumberOfFractionsPlanned is %.4g", fractions);
        plan.plain.fraction_groups++;
        plan.plain.fractions += (int64_t)fractions;
        for (DcmItem *reference : items_of(*group, DCM_ReferencedBeamSequence)) {
            const double number = number_or(*reference, DCM_ReferencedBeamNumber, "ReferencedBeamNumber", -1);
            const double beam_dose = number_or(*reference, DCM_BeamDose, "BeamDose", UNKNOWN);
            const double mu = number_or(*reference, DCM_BeamMeterset, "BeamMeterset", UNKNOWN);
            if (beam_dose >= 0) dose += beam_dose;
            for (Beam &beam : plan.beams) {
                if ((double)beam.plain.number != number) continue;
                if (!std::isnan(mu)) beam.plain.meterset_mu = mu;
                if (!std::isnan(beam_dose)) beam.plain.dose_gy = beam_dose;
            }
        }
        if (dose > 0 && fractions > 0) {
            plan.has_beam_dose = true;
            plan.beam_dose_gy += dose * fractions;
        }
    }
}

static void read_targets(DcmItem &item, Plan &plan)
{
    for (DcmItem *reference : items_of(item, DCM_DoseReferenceSequence)) {
        const double dose = number_or(*reference, DCM_TargetPrescriptionDose, "TargetPrescriptionDose", 0);
        const double roi = number_or(*reference, DCM_ReferencedROINumber, "ReferencedROINumber", -1);
        if (dose == 0 || text_of(*reference, DCM_DoseReferenceType) == "ORGAN_AT_RISK") continue;
        if (dose < 0 || dose > 200) /* cGy written as Gy shows here */
            refuse(DG_ERR_DATA, NUMBER, "TargetPrescriptionDose is %.4g Gy, 0 .. 200 are possible: correct the plan",
                   dose);
        plan.targets.push_back({(int32_t)roi, dose});
        if (plan.targets.size() > 4096) refuse(DG_ERR_DATA, NUMBER, "there are more than 4096 dose references");
    }
}

static void prescribe(Plan &plan)
{
    dg_dicom_plan &plain = plan.plain;
    for (const dg_dicom_target &target : plan.targets) {
        plain.prescription_source = DG_DICOM_RX_DOSE_REFERENCE;
        plain.prescription_gy = std::fmax(plain.prescription_gy, target.prescription_gy);
    }
    if (plan.targets.empty() && plan.has_beam_dose && plan.beam_dose_gy <= 200) {
        plain.prescription_source = DG_DICOM_RX_FRACTION_GROUP;
        plain.prescription_gy = plan.beam_dose_gy;
    }
    if (plain.prescription_source == DG_DICOM_RX_NONE)
        note(plan.context, "rtplan-no-prescription", "the plan holds no prescription that can be read");
}

static void put(double *to, const std::vector<double> &values) { std::copy(values.begin(), values.end(), to); }

static void hand_over(const Beam &beam, dg_dicom_beam *out)
{
    const size_t points = beam.gantry.size(), pairs = (size_t)beam.plain.leaf_pairs;
    *out = beam.plain;
    need(dg_dicom_beam_make(out, (int64_t)points, (int64_t)pairs));
    put(out->gantry_deg, beam.gantry);
    put(out->weight, beam.weight);
    put(out->dose_rate, beam.rate);
    put(out->jaw_x1, beam.jaw[0]);
    put(out->jaw_x2, beam.jaw[1]);
    put(out->jaw_y1, beam.jaw[2]);
    put(out->jaw_y2, beam.jaw[3]);
    if (beam.boundaries.empty())
        out->leaf_boundaries = nullptr;
    else
        put(out->leaf_boundaries, beam.boundaries);
    for (size_t p = 0; p < points && pairs > 0; p++) {
        const double *from = beam.mlc.data() + p * pairs * 2;
        std::copy(from, from + pairs, out->mlc_a + p * pairs);
        std::copy(from + pairs, from + 2 * pairs, out->mlc_b + p * pairs);
    }
}

static void read_plan(Plan &plan, const dg_dicom_files *files, dg_dicom_plan *out)
{
    if (files->count == 0) refuse(DG_ERR_DATA, "rtplan-missing", "there is no plan: export the RTPLAN of the dose");
    if (files->count > 1)
        refuse(DG_ERR_DATA, "rtplan-several", "%lld plans fit: leave the one of the dose", (long long)files->count);
    File file;
    read_or_refuse(file, files->path[0], limits_of(plan.context), "file", "rtplan-damaged", "rtplan-damaged",
                   "rtplan-damaged");
    DcmItem &item = file.data();
    const std::vector<DcmItem *> beams = items_of(item, DCM_BeamSequence);
    if (beams.size() > DG_DICOM_BEAMS_MAX)
        refuse(DG_ERR_DATA, NUMBER, "%zu beams are more than %d", beams.size(), (int)DG_DICOM_BEAMS_MAX);
    plan.beams.resize(beams.size());
    for (size_t k = 0; k < beams.size(); k++) read_beam(*beams[k], plan.beams[k], plan);
    if (beams.empty() && !items_of(item, DCM_IonBeamSequence).empty())
        note(plan.context, "rtplan-ion", "the beams are ion beams: they are not read");
    read_groups(item, plan);
    read_targets(item, plan);
    prescribe(plan);
    *out = plan.plain;
    need(dg_alloc(&out->targets, plan.targets.size() + 1, sizeof *out->targets, "targets of the plan"));
    need(dg_alloc(&out->beams, beams.size() + 1, sizeof *out->beams, "beams"));
    std::copy(plan.targets.begin(), plan.targets.end(), out->targets);
    out->target_count = (int64_t)plan.targets.size();
    for (; out->beam_count < (int64_t)beams.size(); out->beam_count++)
        hand_over(plan.beams[(size_t)out->beam_count], &out->beams[out->beam_count]);
    out->total_mu = dg_dicom_plan_total_mu(out);
}

} // namespace dicom

extern "C" dg_status dg_dicom_read_plan(dg_dicom_context *context, const dg_dicom_files *files, dg_dicom_plan *out)
{
    *out = dg_dicom_plan();
    const dg_status status = dicom::guarded(context, "plan", [&] {
        dicom::Plan plan;
        plan.context = context;
        dicom::prepare_dcmtk();
        dicom::read_plan(plan, files, out);
    });
    if (status != DG_OK) dg_dicom_plan_release(out);
    return status;
}

extern "C" void dg_dicom_plan_release(dg_dicom_plan *plan)
{
    for (int64_t k = 0; k < plan->beam_count; k++) dg_free(&plan->beams[k].block);
    dg_free(&plan->beams);
    dg_free(&plan->targets);
    *plan = dg_dicom_plan();
}
